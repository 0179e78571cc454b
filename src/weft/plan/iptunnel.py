"""IP tunnels, whose packets cross the underlay in UDP with nothing before them (flannel's udp backend), and their diff.

A tunnel's table is routes: prefix → the VTEP that has it. The longest prefix wins; a packet that none fits is answered
with ICMP. IPv4 only. No intent is compiled into tunnels, so they are no part of a `NodePlan`: whoever wants some holds
`TunnelPlan`s, and the forwarder of the user datapath makes them true.

Order, make before break: tunnels are put, routes are put, routes are dropped, tunnels are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.plan.changes import changes
from weft.plan.tables import Rows, Table, difference, empty, text

OVERHEAD = 28
"""Octets before every packet: the underlay's IPv4 and UDP headers (RFC 791, RFC 768)."""


@dataclass(frozen=True, slots=True)
class IpTunnel:
    """`address`: of the device, with prefix length. `network`: what the host routes to it. `local`: our address in the
    underlay; `udp_port` is the port at both ends. `mtu`: octets of a packet in the tunnel.
    """

    device: str
    address: str
    network: str
    local: str
    udp_port: int
    mtu: int


@dataclass(frozen=True, slots=True, eq=False)
class TunnelPlan:
    """A tunnel and its routes (`Table.ROUTES`). `flaws`: of an observed one, what is wrong beyond its attributes."""

    tunnel: IpTunnel
    routes: Rows = field(default_factory=lambda: empty(Table.ROUTES))
    flaws: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PutTunnel:
    """`why` empty: it is not there."""

    tunnel: IpTunnel
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        t = self.tunnel
        if self.why:
            return f"~ ip tunnel {t.device}: {', '.join(self.why)}"
        return f"+ ip tunnel {t.device}: {t.address} for {t.network} from {t.local} port {t.udp_port} mtu {t.mtu}"


@dataclass(frozen=True, slots=True)
class DropTunnel:
    device: str

    def __str__(self) -> str:
        return f"- ip tunnel {self.device}"


@dataclass(frozen=True, slots=True, eq=False)
class PutRoutes:
    """New ones, and those whose VTEP is another one now."""

    device: str
    rows: Rows

    def __str__(self) -> str:
        return _rows("+", self.device, self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class DropRoutes:
    device: str
    rows: Rows

    def __str__(self) -> str:
        return _rows("-", self.device, self.rows)


TunnelOperation = PutTunnel | DropTunnel | PutRoutes | DropRoutes


def tunnel_diff(wanted: Mapping[str, TunnelPlan], actual: Mapping[str, TunnelPlan]) -> list[TunnelOperation]:
    """The operations that turn `actual` into `wanted`, both by device; empty where they agree. Pure."""
    tunnels: list[TunnelOperation] = []
    puts: list[TunnelOperation] = []
    drops: list[TunnelOperation] = []
    for device, plan in sorted(wanted.items()):
        there = actual.get(device)
        if there is None:
            tunnels.append(PutTunnel(plan.tunnel))
        elif why := (*changes(there.tunnel, plan.tunnel).values(), *there.flaws):
            tunnels.append(PutTunnel(plan.tunnel, why))
        found = difference(Table.ROUTES, plan.routes, there.routes if there else empty(Table.ROUTES))
        puts += [PutRoutes(device, found.put)] if len(found.put) else []
        drops += [DropRoutes(device, found.drop)] if len(found.drop) else []
    gone: list[TunnelOperation] = [DropTunnel(device) for device in sorted(actual) if device not in wanted]
    return [*tunnels, *puts, *drops, *gone]


def _rows(sign: str, device: str, rows: Rows) -> str:
    return "\n".join(f"{sign} route {device}: {to} → {vtep}" for to, vtep in text(Table.ROUTES, rows))
