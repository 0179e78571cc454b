"""The switch as the other files of this package see it: the host, its Open vSwitch, and what is ours there.

A bridge, port or interface is ours if its external-ids say `weft: <cluster>/<kind>/<name>` with our cluster; a flow by
its cookie (weft.l2.ovs.flows); a device of the host by its name and alias, as in the kernel's datapath.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

from weft.l2.kernel.host import Host
from weft.l2.ovs import family
from weft.l2.ovs.connection import Sender
from weft.l2.ovs.flows import Flow
from weft.l2.ovs.ofctl import Ofctl
from weft.l2.ovs.ovsdb import Bridge, Ovsdb
from weft.l2.ovs.rpc import Rpc
from weft.l2.ovs.told_routes import OPTION, Told, parse
from weft.model.errors import Kind, WeftError
from weft.netlink.links import Link
from weft.netlink.nft_ingress import IngressTable

INTEGRATION, TUNNELS, UNDERLAY = "br-int", "br-tun", "br-phy"
RUNDIR = Path("/var/run/openvswitch")
_MARK = "weft"


class Switch:
    """`rundir`: where Open vSwitch has its sockets. `host`: as the kernel's datapath sees it."""

    def __init__(self, cluster: str, namespace: str | None, ports: Callable[[str], str], rundir: Path) -> None:
        self.cluster = cluster
        self.host = Host(cluster, namespace, ports)
        self.rundir = rundir
        self._database: Ovsdb | None = None
        self._senders: dict[str, Sender] = {}

    @property
    def db(self) -> Ovsdb:
        if self._database is None:
            self._database = Ovsdb(self.rundir / "db.sock")
        return self._database

    @cached_property
    def userspace(self) -> bool:
        """Whether ovs-vswitchd forwards by itself: this kernel has no datapath of Open vSwitch."""
        return not family.exists("ovs_datapath", self.host.namespace)

    @cached_property
    def ingress(self) -> IngressTable:
        name = "weft-ovs" if self.cluster == "default" else f"weft-ovs-{self.cluster}"
        return IngressTable(name, self.host.namespace)

    @cached_property
    def flows(self) -> Ofctl:
        """Flows of br-tun."""
        return Ofctl(self.rundir / f"{TUNNELS}.mgmt")

    def reconnect(self) -> None:
        """Forgets the connection to the database: it was lost, or may be another one by now."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def control(self, command: str, *arguments: str) -> str:
        """What `ovs-appctl COMMAND …` prints. Raises WeftError."""
        with self.controlled() as rpc:
            return str(rpc.call(command, *arguments))

    @contextmanager
    def controlled(self) -> Iterator[Rpc]:
        """ovs-vswitchd's control socket, for several commands. Raises WeftError."""
        rpc = Rpc(self.rundir / f"ovs-vswitchd.{self._pid()}.ctl")
        try:
            yield rpc
        finally:
            rpc.close()

    def told(self) -> Told:
        """What ovs-vswitchd was told of routes, if it does not read the host's. Raises WeftError."""
        if not self.userspace:
            return Told()
        try:
            options = Path(f"/proc/{self._pid()}/cmdline").read_text().split("\0")
        except OSError:  # not one of this host's processes, or being restarted
            return Told()
        return parse(self.control("ovs/route/show"), UNDERLAY) if OPTION in options else Told()

    def _pid(self) -> str:
        try:
            return (self.rundir / "ovs-vswitchd.pid").read_text().strip()
        except OSError as error:
            what = "ovs-vswitchd is not running"
            remedy = "install openvswitch-switch and start it"
            raise WeftError(Kind.UNREACHABLE, what, where=str(self.rundir), remedy=remedy) from error

    def sender(self, bridge: str) -> Sender:
        """For frames of our own into a bridge."""
        return self._senders.setdefault(bridge, Sender(self.rundir / f"{bridge}.mgmt"))

    def close(self) -> None:
        self.reconnect()
        self.host.close()
        for each in self._senders.values():
            each.close()
        if opened := self.__dict__.pop("ingress", None):
            opened.close()

    # What is ours

    def mark(self, kind: str, name: str, **more: str) -> dict[str, str]:
        """External-ids of a row of ours."""
        return {_MARK: f"{self.cluster}/{kind}/{quote(name, safe='')}"} | more

    def ours(self, external_ids: dict[str, str], kind: str) -> str | None:
        """The name of our object of this kind that a row stands for, None if it is not ours."""
        cluster, _, rest = external_ids.get(_MARK, "").partition("/")
        found, _, name = rest.partition("/")
        return unquote(name) if (cluster, found) == (self.cluster, kind) else None

    def own(self, bridges: dict[str, Bridge], name: str) -> Bridge | None:
        """Our bridge of this name; None if there is none. Raises FAILED if somebody else's stands there."""
        bridge = bridges.get(name)
        if bridge is not None and self.ours(bridge.external_ids, "bridge") is None:
            what = "a bridge that is not weft's has the name that weft needs"
            raise WeftError(
                Kind.FAILED, what, where=f"bridge {name}", remedy=f"rename or remove it: ovs-vsctl del-br {name}"
            )
        return bridge


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading: the database's bridges, the host's links and addresses, flows of br-tun, NICs shut to the host,
    routes that were told."""

    bridges: dict[str, Bridge]
    links: dict[str, Link]
    addresses: dict[int, tuple[str, ...]]
    flows: list[Flow]
    shut: frozenset[str]
    told: Told

    @staticmethod
    def of(switch: Switch) -> Snapshot:
        bridges = switch.db.bridges()
        tunnels = bridges.get(TUNNELS)
        ours = tunnels is not None and switch.ours(tunnels.external_ids, "bridge") is not None
        return Snapshot(
            bridges,
            {link.name: link for link in switch.host.links.dump()},
            switch.host.addresses.dump(),
            switch.flows.dump() if ours else [],
            switch.ingress.devices(),
            switch.told(),
        )
