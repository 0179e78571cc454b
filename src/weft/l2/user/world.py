"""What the forwarder holds: segments, their tables and switches, ports, the underlay's sockets, IP tunnels.

Tables stand twice: as the plan's arrays, which `observe` reads back, and as the switch's dictionaries, which frames
are looked up in. Whoever changes one changes the other here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from weft.l2.user.device import Device
from weft.l2.user.ears import Ears
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.switch import Switch
from weft.l2.user.underlay import Underlay
from weft.model.address import words_to_ip
from weft.model.network import SegmentKey
from weft.model.port import AttachKind
from weft.plan import tables
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Rows, Table, Tables
from weft.wire.vxlan import Vxlan

_ETHERNET = 14
Name = TypeVar("Name", str, SegmentKey)


@dataclass(slots=True)
class PortState:
    """A local port that forwards; `gone`: why its device does not answer any more. `veth`: it is no TAP. `home`: which
    namespace its end point is in (weft.netlink.namespace.identity); the name may come to mean another."""

    port: LocalPort
    target: str  # the namespace's name on this machine, or the device's
    device: Device
    veth: bool = False
    gone: str = ""
    home: tuple[int, int] | None = None

    @property
    def for_hosts(self) -> bool:
        """Whether hosts to learn of are behind it: not the host itself, nor a router (ROUTER/NETWORK)."""
        return self.port.attach.kind is not AttachKind.HOST and "/" not in self.port.name


class SegmentState:
    """`vxlan`: the header before every frame. `longest`: octets of an untagged inner frame that fits the MTU."""

    def __init__(self, segment: Segment, underlay: Underlay) -> None:
        self.tables = Tables.none()
        self.switch = _switch(segment)
        self.members: frozenset[str] = frozenset()
        self.vxlan = Vxlan(segment.key.vni).encode()
        self.state(segment, underlay)

    def state(self, segment: Segment, underlay: Underlay) -> None:
        """The segment as it is wanted now; tables and what was learned stay."""
        self.segment, self.underlay = segment, underlay
        self.longest = segment.mtu + _ETHERNET
        switch = _switch(segment)
        switch.succeed(self.switch)
        self.switch = switch
        self._know_members()

    @property
    def open(self) -> bool:
        """Whether anybody may send to this segment: nobody has told who is in its group."""
        return self.segment.group is not None and self.segment.members is None

    def put(self, table: Table, rows: Rows) -> None:
        """Adds rows, or changes those whose key is there."""
        self._take(table, tables.normalized(table, np.concatenate((self.tables[table], rows))))
        if table is Table.FDB:
            self.switch.declare({_mac(mac): words_to_ip(high, low) for mac, high, low in rows.tolist()})
        elif table is Table.NEIGHBORS:
            self.switch.neighbors.update(tables.text(table, rows))  # type: ignore[arg-type]
        self._know_members()

    def drop(self, table: Table, rows: Rows) -> None:
        """Removes rows by key; what is not there is no error."""
        self._take(table, tables.difference(table, rows, self.tables[table]).drop)
        if table is Table.FDB:
            self.switch.undeclare(_mac(mac) for mac in rows["mac"].tolist())
        elif table is Table.NEIGHBORS:
            for ip, _ in tables.text(table, rows):
                self.switch.neighbors.pop(ip, None)
        self._know_members()

    def _take(self, table: Table, rows: Rows) -> None:
        self.tables = Tables(**{str(each): rows if each is table else self.tables[each] for each in Table})
        if table is Table.FLOOD:
            self.switch.flood_to(tuple(vtep for (vtep,) in tables.text(table, rows)))

    def _know_members(self) -> None:
        told = self.segment.members or ()
        self.members = frozenset((*told, *self.switch.flood, *self.switch.static.values()))

    def learned(self, now: float) -> Tables:
        """What was learned of remote hosts, as a table."""
        found = [
            (mac.hex(":"), entry.vtep)
            for mac, entry in list(self.switch.learned.items())
            if entry.vtep is not None and now - entry.seen <= self.switch.age
        ]
        return Tables(tables.fdb(found), tables.empty(Table.NEIGHBORS), tables.empty(Table.FLOOD))


def _switch(segment: Segment) -> Switch:
    return Switch(
        learning=segment.learning, age=segment.age, arp=segment.arp, group=segment.group, anycast=segment.anycast
    )


def _mac(value: int) -> bytes:
    return value.to_bytes(6, "big")


@dataclass(slots=True)
class Tally:
    """Counters of one carrier, which alone adds to them: (packets, octets) by port or segment, drops by reason."""

    port_in: Counter[str] = field(default_factory=Counter)
    port_in_octets: Counter[str] = field(default_factory=Counter)
    port_out: Counter[str] = field(default_factory=Counter)
    port_out_octets: Counter[str] = field(default_factory=Counter)
    tunnel_in: Counter[SegmentKey] = field(default_factory=Counter)
    tunnel_in_octets: Counter[SegmentKey] = field(default_factory=Counter)
    tunnel_out: Counter[SegmentKey] = field(default_factory=Counter)
    tunnel_out_octets: Counter[SegmentKey] = field(default_factory=Counter)
    drops: Counter[str] = field(default_factory=Counter)

    def keep(self, ports: Container[str], segments: Container[SegmentKey]) -> None:
        """Forgets the others; may be called by any thread."""
        for of_ports in (self.port_in, self.port_in_octets, self.port_out, self.port_out_octets):
            _keep(of_ports, ports)
        for of_segments in (self.tunnel_in, self.tunnel_in_octets, self.tunnel_out, self.tunnel_out_octets):
            _keep(of_segments, segments)


def _keep(counts: Counter[Name], there: Container[Name]) -> None:
    for name in [name for name in list(counts) if name not in there]:
        counts.pop(name, None)


@dataclass(slots=True)
class World:
    """Everything that frames are forwarded by; changed by one thread, read by the workers."""

    segments: dict[SegmentKey, SegmentState] = field(default_factory=dict)
    ports: dict[str, PortState] = field(default_factory=dict)
    underlays: dict[tuple[str, int], Underlay] = field(default_factory=dict)
    tunnels: dict[str, TunnelState] = field(default_factory=dict)
    ears: Ears = field(default_factory=Ears)

    def groups(self, underlay: Underlay) -> set[str]:
        """Groups that segments of an underlay socket flood to."""
        return {s.segment.group for s in self.segments.values() if s.underlay is underlay and s.segment.group}

    def unused(self) -> Iterator[tuple[tuple[str, int], Underlay]]:
        """Underlay sockets that no segment uses any more."""
        used = {id(state.underlay) for state in self.segments.values()}
        yield from [(key, each) for key, each in self.underlays.items() if id(each) not in used]
