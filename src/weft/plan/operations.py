"""Operations: the values between a diff and a datapath. A datapath applies them in the given order.

The order is a contract, make before break:

    1. ports that stand where a wanted port must stand are dropped (two devices cannot share a place)
    2. segments are put: created, changed or mended
    3. routers are put: the namespace, the L3 VNI's device, the outside
    4. ports are put, those into routers too; then the IRB interfaces that some of them are
    5. flood lists, FDB rows, neighbor rows, host routes are put: a frame finds its way before anybody is told to send
       it; first of segments, then of routers
    6. routes and rules of routers are put, all of one router at once, and those not wanted are dropped after
    7. host routes, neighbor rows, FDB rows, flood lists are dropped: nobody is told the way before it goes
    8. ports are dropped, and with them IRB interfaces
    9. routers are dropped
    10. segments are dropped

`Put…` is idempotent: it makes the object as stated whatever was there. Every operation prints as one line.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.network import SegmentKey
from weft.plan.port import LocalPort
from weft.plan.router import HOST_NAMESPACE, Irb, Router, RouterDevice
from weft.plan.segment import Segment
from weft.plan.tables import Rows, Table, text


@dataclass(frozen=True, slots=True)
class PutSegment:
    """`why` empty: it is not there. `rebuild`: what it holds in tables is lost on the way and is put again after."""

    segment: Segment
    why: tuple[str, ...] = ()
    rebuild: bool = False

    def __str__(self) -> str:
        s = self.segment
        if self.why:
            return f"~ segment {s.key} ({s.network}): {', '.join(self.why)}"
        modes = f"vtep {s.vtep} mtu {s.mtu} {'learning' if s.learning else 'static'} arp {s.arp}"
        if s.routed:
            modes = f"vtep {s.vtep} mtu {s.mtu} {s.routed}"
        return f"+ segment {s.key} ({s.network}): {modes}{f' group {s.group}' if s.group else ''}"


@dataclass(frozen=True, slots=True)
class DropSegment:
    segment: Segment

    def __str__(self) -> str:
        return f"- segment {self.segment.key} ({self.segment.network})"


@dataclass(frozen=True, slots=True)
class PutPort:
    """`why` empty: it is not there."""

    port: LocalPort
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        p = self.port
        if self.why:
            return f"~ port {p.name}: {', '.join(self.why)}"
        where = f"{p.attach.kind} {p.attach.target}".strip()
        return f"+ port {p.name}: segment {p.segment} {where} mac {p.mac} {' '.join(p.addresses)}".rstrip()


@dataclass(frozen=True, slots=True)
class DropPort:
    port: LocalPort

    def __str__(self) -> str:
        return f"- port {self.port.name}"


@dataclass(frozen=True, slots=True, eq=False)
class PutRows:
    key: SegmentKey | RouterDevice
    table: Table
    rows: Rows

    def __str__(self) -> str:
        return _rows("+", self.key, self.table, self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class DropRows:
    key: SegmentKey | RouterDevice
    table: Table
    rows: Rows

    def __str__(self) -> str:
        return _rows("-", self.key, self.table, self.rows)


@dataclass(frozen=True, slots=True)
class PutRouter:
    """The router without its interfaces, routes and rules. `why` empty: it is not there."""

    router: Router
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        r = self.router
        if self.why:
            return f"~ router {r.name}: {', '.join(self.why)}"
        where = "in the host's own namespace" if r.namespace == HOST_NAMESPACE else f"namespace {r.namespace}"
        more = f" l3 {r.l3}" if r.l3 else ""
        more += f" outside {r.outside}" if r.outside else ""
        return f"+ router {r.name}: {where}{more}"


@dataclass(frozen=True, slots=True)
class DropRouter:
    router: Router

    def __str__(self) -> str:
        return f"- router {self.router.name}"


@dataclass(frozen=True, slots=True)
class PutIrb:
    """`why` empty: it is not there. Its device stands already, as a port."""

    router: Router
    irb: Irb
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.why:
            return f"~ irb {self.router.name}/{self.irb.device}: {', '.join(self.why)}"
        anycast = f" anycast {self.irb.anycast}" if self.irb.anycast else ""
        return f"+ irb {self.router.name}/{self.irb.device}: mac {self.irb.mac}{anycast} {' '.join(self.irb.addresses)}"


@dataclass(frozen=True, slots=True)
class PutPaths:
    """All routes and rules of a router, beside its host routes. `why`: what differs, a line each."""

    router: Router
    why: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(f"{line[0]} {self.router.name}: {line[2:]}" for line in self.why)


def _rows(sign: str, key: SegmentKey | RouterDevice, table: Table, rows: Rows) -> str:
    return "\n".join(f"{sign} {table} {key}: {' → '.join(row)}" for row in text(table, rows))


Operation = (
    PutSegment | DropSegment | PutPort | DropPort | PutRows | DropRows | PutRouter | DropRouter | PutIrb | PutPaths
)
