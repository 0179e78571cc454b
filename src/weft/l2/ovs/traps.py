"""What goes wrong with Open vSwitch in the field, looked for on this host: for `weft doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from weft.l2.ovs import underlay
from weft.l2.ovs.routes import neighbors, next_hop
from weft.l2.ovs.switch import UNDERLAY, Snapshot, Switch
from weft.netlink.ethtool import offloads


@dataclass(frozen=True, slots=True)
class Trap:
    """One finding. `bad` False: looked for, and not there; `remedy` is empty then."""

    name: str
    what: str
    bad: bool = False
    remedy: str = ""


def traps(
    switch: Switch, snapshot: Snapshot, vtep: str, remotes: Iterable[str], flaws: Iterable[str]
) -> Iterator[Trap]:
    """`remotes`: VTEPs that tunnels lead to; `flaws`: of ports, as observed."""
    if not switch.userspace:
        yield Trap("ovs", "this kernel has Open vSwitch's datapath: br-phy is not needed")
    else:
        yield Trap(
            "ovs", "no kernel datapath here: ovs-vswitchd forwards by itself, some 0.2 to 0.7 Gbit/s of one TCP stream"
        )
        found = underlay.flaws(switch, snapshot, vtep)
        remedy = "run the agent, which mends it: weft agent"
        if found:
            yield Trap("br-phy", "; ".join(found), True, remedy)
        else:
            yield Trap("br-phy", f"holds {vtep} and the NIC; the host's own stack is shut out there")
        yield from _routes(snapshot, vtep)
        yield from _joined(switch, snapshot)
        yield from _neighbors(switch, snapshot, remotes)
    unfinished = [flaw for flaw in flaws if "unfinished" in flaw]
    for flaw in unfinished:
        yield Trap("checksums", flaw, True, "ethtool -K DEVICE tx off, inside the namespace")
    if not unfinished:
        yield Trap("checksums", "no port leaves them unfinished")
    yield Trap("groups", "group packets are not received: nodes that can send both send copies to this one")
    yield Trap("mtu", "what is too long is dropped without ICMP: end points must keep the network's MTU")


def _routes(snapshot: Snapshot, vtep: str) -> Iterator[Trap]:
    """Whether ovs-vswitchd loses sight of its tunnels while links change (weft.l2.ovs.told_routes)."""
    other = {source for source in snapshot.told.sources.values() if source != vtep}
    if snapshot.told.system:
        what = "ovs-vswitchd reads the host's routes: while a link comes or goes some packets can be lost; with its"
        yield Trap("routes", f"{what} option --disable-system-route none is, where all its tunnels are Weft's")
    elif other:
        what = f"packets leave from {' '.join(sorted(other))}, not from {vtep}: peers take them for a stranger's"
        yield Trap("routes", what, True, f"give {UNDERLAY} no other address in that subnet")
    else:
        yield Trap("routes", "ovs-vswitchd knows those to VTEPs, which Weft tells it, and no other")


def _joined(switch: Switch, snapshot: Snapshot) -> Iterator[Trap]:
    """ovs-vswitchd takes a packet as the NIC gives it: joined ones (GRO) are too long for the next wire."""
    name = underlay.nic(switch, snapshot.bridges)
    if name is None or name not in snapshot.links:
        return
    if offloads(name, switch.host.namespace).get("gro"):
        what = f"{name} joins packets before Open vSwitch sees them (GRO): what is too long then is dropped"
        yield Trap("gro", what, True, f"ethtool -K {name} gro off")
    else:
        yield Trap("gro", f"{name} joins no packets")


def _neighbors(switch: Switch, snapshot: Snapshot, remotes: Iterable[str]) -> Iterator[Trap]:
    """ovs-vswitchd's MAC of each next hop against the kernel's: it believes an old one for 900 s."""
    port = snapshot.links.get(UNDERLAY)
    if port is None:
        return
    printed = switch.control("tnl/neigh/show").splitlines()[2:]
    believed = {ip: mac for ip, mac, *_ in (line.split() for line in printed if line.strip())}
    known = neighbors(switch.host.channel, port)
    found = [next_hop(switch.host.channel, remote) for remote in remotes]
    for hop in sorted({each.address for each in found if each is not None}):
        mac = known.get(hop)
        if mac is None:
            yield Trap("next hop", f"{hop} does not answer: the first packets to it are lost", True, f"ping {hop}")
        elif believed.get(hop) != mac:
            what = f"{hop} is {mac}, and ovs-vswitchd believes {believed.get(hop, 'nothing')}"
            yield Trap("next hop", what, True, f"ovs-appctl tnl/neigh/set {UNDERLAY} {hop} {mac}")
        else:
            yield Trap("next hop", f"{hop} is {mac}, and ovs-vswitchd knows it")
