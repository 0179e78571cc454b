"""What `weft doctor` checks on a host, each finding with its remedy. Changes nothing; sends a few datagrams to peers.

`check_host` needs nothing but the host; `check_node` knows what is stored and which node the host is. What a node's
facts say against the stored intent is judged by the same law that `weft apply` goes by (weft.model.validate).
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from weft import __version__
from weft.agent import path_mtu
from weft.agent.layers import below
from weft.compile.segment import underlay_mtu
from weft.compile.world import World
from weft.l2.datapath import Datapath
from weft.l2.ovs.datapath import OvsDatapath
from weft.l2.user.datapath import UserDatapath
from weft.model.address import UDP_PORT_VXLAN, is_ipv6, overhead
from weft.model.errors import WeftError
from weft.model.network import Network
from weft.model.node import DatapathKind, Facts, Node
from weft.model.validate import contradictions
from weft.netlink import outside, sysctl

_USER_NAMESPACES = (  # knob below /proc/sys, the value that forbids, the remedy
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
)
_TOLD = ("tap",)  # features that `check_host` speaks of


class State(StrEnum):
    """`warn`: works, but not everything, or not for everybody."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `remedy` is empty where all is well."""

    name: str
    state: State
    what: str
    remedy: str = ""


def check_host() -> Iterator[Check]:
    """What does not depend on any node."""
    yield Check("version", State.OK, f"weft {__version__}, Python {sys.version.split()[0]}, Linux {os.uname().release}")
    yield _user_namespaces()
    yield _tun()


def _user_namespaces() -> Check:
    for knob, forbids, remedy in _USER_NAMESPACES:
        try:
            value = Path("/proc/sys", knob).read_text().strip()
        except OSError:
            continue
        if value == forbids:
            what = f"closed to ordinary users ({knob.replace('/', '.')} = {value}): no labs without root"
            return Check("user namespaces", State.WARN, what, f"as root: {remedy}")
    return Check("user namespaces", State.OK, "open to ordinary users: labs need no root")


def _tun() -> Check:
    device = Path("/dev/net/tun")
    if os.access(device, os.R_OK | os.W_OK):
        return Check("tap devices", State.OK, f"{device} is open to this user")
    what, remedy = f"{device} is closed to this user", f"chmod 0666 {device}, as root"
    if not device.exists():
        what, remedy = f"{device} is not there", "modprobe tun"
    return Check("tap devices", State.WARN, f"{what}: no ports with `attach: tap`", remedy)


def check_kernel(missing: Mapping[str, str]) -> Iterator[Check]:
    """The features that segments need; `missing` as in Facts. Which of them this node needs, `check_node` says."""
    lacking = {feature: remedy for feature, remedy in missing.items() if feature not in _TOLD}
    if not lacking:
        yield Check("kernel", State.OK, "has all that segments need")
    for feature, remedy in sorted(lacking.items()):
        what = "this user cannot try its features" if feature == "namespace" else f"{feature} is missing"
        yield Check("kernel", State.WARN, what, remedy)


def check_node(world: World, name: str, facts: Facts, ours: Mapping[int, DatapathKind]) -> Iterator[Check]:
    """What concerns this node; `ours`: UDP ports that segments of ours hold here, and by which datapath."""
    node = world.nodes.get(name)
    if node is None:
        known = ", ".join(sorted(world.nodes)[:8]) or "none"
        yield Check("node", State.FAIL, f"{name} is not declared", f"declare it under `nodes:`; declared: {known}")
        return
    yield from _vtep(node, facts)
    for problem in contradictions(world.intent(), {name: facts}):
        if facts.interface is not None or "vtep" not in problem.path:  # a VTEP that is missing has been told
            yield Check("intent", State.FAIL, problem.what, problem.remedy)
    networks = [network for key, network in sorted(world.networks.items()) if node in world.members(key)]
    yield from _udp_ports(networks, node, ours)
    yield from _forwarding(networks)
    if facts.interface is not None:
        yield from _paths(world, networks, node, facts.underlay_mtu or underlay_mtu(world, node))


def _vtep(node: Node, facts: Facts) -> Iterator[Check]:
    if facts.interface is None:
        here = ", ".join(facts.addresses) or "none"
        yield Check(
            "vtep",
            State.FAIL,
            f"{node.vtep} is on no device of this host",
            f"ip address add it, or correct `vtep:` of {node.name}; addresses here: {here}",
        )
        return
    mtu = facts.underlay_mtu or 0
    yield Check(
        "vtep",
        State.OK,
        f"{node.vtep} is on {facts.interface}, MTU {mtu}: overlays of up to {mtu - overhead(node.vtep)}",
    )


def check_offloads(device: str, offloads: Mapping[str, bool]) -> Check:
    """The underlay device's offloads, for people: one that is broken cannot be told from a good one here."""
    on = " ".join(name for name, enabled in offloads.items() if enabled) or "none"
    if not offloads:
        return Check("offloads", State.WARN, f"{device} does not tell its offloads", "ethtool -k tells more")
    return Check("offloads", State.OK, f"{device}: {on}")


def _udp_ports(networks: list[Network], node: Node, ours: Mapping[int, DatapathKind]) -> Iterator[Check]:
    for port in sorted({network.udp_port for network in networks} or {UDP_PORT_VXLAN}):
        if holder := ours.get(port):
            if holder is node.datapath:
                yield Check("udp port", State.OK, f"{port} is held by our own VTEP")
            else:
                what = f"{port} is held by our own datapath {holder}, not {node.name}'s {node.datapath}"
                yield Check("udp port", State.FAIL, what, f"`weft agent --node {node.name} --cleanup` takes it down")
            continue
        family = socket.AF_INET6 if is_ipv6(node.vtep) else socket.AF_INET
        try:
            with outside.make(outside.lender(), family, socket.SOCK_DGRAM) as probe:
                probe.bind((node.vtep if node.datapath is DatapathKind.USER else "", port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:  # a VTEP that is missing has been told
                continue
            if error.errno != errno.EADDRINUSE:
                yield Check("udp port", State.WARN, f"{port} cannot be tried: {error.strerror}", "run it as root")
                continue
            remedy = f"find it with `ss -ulpn sport = {port}` or `ip -d link show type vxlan`; stop it, or set udp_port"
            yield Check("udp port", State.FAIL, f"{port} is taken by somebody else", remedy)
        else:
            yield Check("udp port", State.OK, f"{port} is free")


def _forwarding(networks: list[Network]) -> Iterator[Check]:
    """In a routed network the host's own stack is the router; whether it is one is the operator's to say."""
    for network in networks:
        if network.routed:
            six = any(map(is_ipv6, network.subnets))
            knob = "ipv6/conf/all/forwarding" if six else "ipv4/ip_forward"
            if sysctl.read(knob, None) != "0":
                yield Check("forwarding", State.OK, f"this host forwards for routed network {network.name}")
                continue
            what = f"this host does not forward: its containers in routed network {network.name} are cut off"
            yield Check("forwarding", State.WARN, what, f"sysctl -w net.{knob.replace('/', '.')}=1")


def _paths(world: World, networks: list[Network], node: Node, mtu: int) -> Iterator[Check]:
    """The path to each peer, and whether the networks that both share fit through it."""
    shared: dict[str, list[Network]] = {}
    for network in networks:
        for peer in world.members(network.name):
            if peer.name != node.name and is_ipv6(peer.vtep) == is_ipv6(node.vtep):
                shared.setdefault(peer.name, []).append(network)
    peers = {name: (world.nodes[name].vtep, both[0].udp_port) for name, both in sorted(shared.items())}
    found = path_mtu.probe(node.vtep, peers, mtu)
    for name, path in sorted(found.items()):
        vtep = world.nodes[name].vtep
        if path.mtu is None:
            yield Check("path", State.FAIL, f"{name} ({vtep}) cannot be reached: {path.why}", f"ip route get {vtep}")
            continue
        carried = path.mtu - overhead(vtep)
        narrow = [each.name for each in shared[name] if _overlay_mtu(world, each) > carried]
        if narrow:
            yield Check(
                "path",
                State.FAIL,
                f"{name} ({vtep}): the path carries {path.mtu} octets, too few for network {', '.join(narrow)}",
                f"set mtu: {carried} there, or widen the underlay",
            )
        elif path.refused:
            what = f"{name} ({vtep}): {path.mtu} octets pass, but nobody takes VXLAN there"
            yield Check("path", State.WARN, what, f"run its agent: weft agent --node {name}")
        else:
            yield Check("path", State.OK, f"{name} ({vtep}): {path.mtu} octets pass")
    if len(peers) > path_mtu.PEERS_MAX:
        what = f"{len(peers) - path_mtu.PEERS_MAX} more peers were not probed"
        yield Check("path", State.WARN, what, "run doctor on them")


def _overlay_mtu(world: World, network: Network) -> int:
    members = world.members(network.name)
    return network.mtu or min(underlay_mtu(world, member) - overhead(member.vtep) for member in members)


def check_user(datapath: Datapath) -> Iterator[Check]:
    """The forwarder, and what makes it slower here, where this node's datapath is ours. Raises WeftError."""
    vtep = below(datapath)
    if not isinstance(vtep, UserDatapath):
        return
    pid = vtep.pid
    what = f"process {pid} forwards" if pid else "none runs: nothing has been applied here, or it has ended"
    yield Check("forwarder", State.OK if pid else State.WARN, what, "" if pid else "run the agent")
    yield from _workers(pid, *vtep.workers())
    slower = vtep.slower()
    for feature, (costs, remedy) in slower.items():
        yield Check("speed", State.WARN, f"{feature} is missing: {costs}", remedy)
    if not slower:
        yield Check("speed", State.OK, "has all that makes the user datapath fast")


def _workers(front: int | None, pids: tuple[int, ...], wished: int) -> Iterator[Check]:
    remedy = f"end process {front} when networks may stop for a moment; the agent starts another one"
    if front and not pids:
        yield Check("workers", State.WARN, "the forwarder is of an earlier weft, and runs that until it ends", remedy)
    if len(pids) > 1:
        busy = sum(map(bool, pids))
        yield Check("workers", State.OK, f"{busy} of {len(pids)} processes have networks to forward")
    if pids and wished not in (0, len(pids)):
        what = f"the agent wishes {wished} forwarding processes, the forwarder was started with {len(pids)}"
        yield Check("workers", State.WARN, what, remedy)


def check_ovs(datapath: Datapath) -> Iterator[Check]:
    """The traps of Open vSwitch, where this node's datapath is it. Raises WeftError."""
    switch = below(datapath)
    if isinstance(switch, OvsDatapath):
        for trap in switch.traps():
            yield Check(trap.name, State.WARN if trap.bad else State.OK, trap.what, trap.remedy)


def unreachable(name: str, error: WeftError) -> Check:
    """A check that could not be made because something does not answer."""
    what = f"{error.where}: {error.what}" if error.where else error.what
    return Check(name, State.FAIL, what, error.remedy)
