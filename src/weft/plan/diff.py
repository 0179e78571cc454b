"""The diff: wanted plan against what is → operations, in the order of weft.plan.operations. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.model.network import SegmentKey
from weft.model.port import AttachKind
from weft.plan import router_diff
from weft.plan.changes import changes
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import (
    DropPort,
    DropRouter,
    DropRows,
    DropSegment,
    Operation,
    PutPort,
    PutRows,
    PutSegment,
)
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Table, Tables, difference

# A change of one of these makes a datapath build the segment anew, which empties its tables.
_REBUILD = frozenset({"vtep", "group"})
_PUT_ORDER = (Table.FLOOD, Table.FDB, Table.NEIGHBORS, Table.ROUTES)


def diff(wanted: NodePlan, actual: Observed) -> list[Operation]:
    """The operations that turn `actual` into `wanted`; empty where they agree."""
    segments, rebuilt = _put_segments(wanted, actual)
    put_rows, drop_rows = _rows(wanted.tables, actual.tables, rebuilt)
    put_router_rows, drop_router_rows = _rows(wanted.router_tables, actual.router_tables, set())
    gone = [port for name, port in actual.ports.items() if name not in wanted.ports]
    places = {_place(port) for port in wanted.ports.values()}
    in_the_way = [port for port in gone if _place(port) in places]
    return [
        *(DropPort(port) for port in in_the_way),
        *segments,
        *router_diff.put_routers(wanted, actual),
        *_put_ports(wanted, actual),
        *router_diff.put_irbs(wanted, actual),
        *put_rows,
        *put_router_rows,
        *router_diff.put_paths(wanted, actual),
        *drop_router_rows,
        *drop_rows,
        *(DropPort(port) for port in gone if _place(port) not in places),
        *(DropRouter(router) for name, router in sorted(actual.routers.items()) if name not in wanted.routers),
        *(DropSegment(segment) for key, segment in sorted(actual.segments.items()) if key not in wanted.segments),
    ]


def segment_changes(there: Segment, wanted: Segment) -> dict[str, str]:
    """As `changes`; members count only between those who tell any (weft.plan.segment)."""
    return changes(there, wanted, *(("members",) if None in (there.members, wanted.members) else ()))


def _put_segments(wanted: NodePlan, actual: Observed) -> tuple[list[PutSegment], set[SegmentKey]]:
    operations: list[PutSegment] = []
    rebuilt: set[SegmentKey] = set()
    for key, segment in sorted(wanted.segments.items()):
        there = actual.segments.get(key)
        if there is None:
            operations.append(PutSegment(segment))
            continue
        changed = segment_changes(there, segment)
        why = (*changed.values(), *actual.flaws.get(key, ()))
        if why:
            another = (there.routed is None) is not (segment.routed is None)
            rebuild = another or not _REBUILD.isdisjoint(changed)
            rebuilt |= {key} if rebuild else set()
            operations.append(PutSegment(segment, why, rebuild))
    return operations, rebuilt


def _put_ports(wanted: NodePlan, actual: Observed) -> list[PutPort]:
    operations: list[PutPort] = []
    for name, port in sorted(wanted.ports.items()):
        there = actual.ports.get(name)
        if there is None:
            operations.append(PutPort(port))
        elif why := (*changes(there, port).values(), *actual.flaws.get(name, ())):
            operations.append(PutPort(port, why))
    return operations


def _rows(
    wanted: Mapping[Any, Tables], actual: Mapping[Any, Tables], rebuilt: set[SegmentKey]
) -> tuple[list[PutRows], list[DropRows]]:
    """By segment, or by device in a router."""
    puts: list[PutRows] = []
    drops: list[DropRows] = []
    nothing = Tables.none()
    for key, tables in sorted(wanted.items(), key=lambda item: item[0]):
        there = nothing if key in rebuilt else actual.get(key, nothing)
        found = {table: difference(table, tables[table], there[table]) for table in _PUT_ORDER}
        puts += [PutRows(key, table, change.put) for table, change in found.items() if len(change.put)]
        drops += [DropRows(key, table, change.drop) for table, change in reversed(found.items()) if len(change.drop)]
    return puts, drops


def _place(port: LocalPort) -> tuple[object, ...]:
    own = port.segment if port.attach.kind is AttachKind.HOST else None
    return (*port.attach.place, own)
