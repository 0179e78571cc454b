"""Drift: what others did to our objects since we left them, told apart from what intent has changed meanwhile. Pure.

The agent leaves the host as a plan says, except for what failed. Whatever an observation finds different from that
plan, somebody else has changed. What was changed is named as people see it, an object and what of it, each for itself:
"segment 5000", which is gone, "segment 5000: mtu", "port a: wp-a is down", "fdb 5000 02:…:01". Many rows of one table
at once are one object, the table. So who fights over an MTU does not hold up a bridge that somebody deletes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from weft.agent.fight import Fights
from weft.agent.partial import Part, differences
from weft.model.network import SegmentKey
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import (
    DropPort,
    DropRouter,
    DropRows,
    DropSegment,
    Operation,
    PutIrb,
    PutPaths,
    PutPort,
    PutRouter,
    PutRows,
    PutSegment,
)
from weft.plan.router import RouterDevice
from weft.plan.tables import KEY, Tables, text

ROWS = 64  # rows of one operation that are told one by one


_VALUE = re.compile(r" \S*\d\S*")


def objects(operation: Operation, observed: Observed | None = None) -> dict[str, str]:
    """What an operation changes: by name, what was found and what is planned."""
    match operation:
        case PutSegment(segment, why):
            return _told(_segment(segment.key), why)
        case PutPort(port, why):
            return _told(f"port {port.name}", why)
        case PutRouter(router, why) | PutPaths(router, why):
            return _told(f"router {router.name}", why)
        case PutIrb(router, irb, why):
            return _told(f"irb {router.name}/{irb.device}", why)
        case DropSegment(segment):
            return _told(_segment(segment.key), ("is not planned",))
        case DropPort(port):
            return _told(f"port {port.name}", ("is not planned",))
        case DropRouter(router):
            return _told(f"router {router.name}", ("is not planned",))
    if len(operation.rows) <= ROWS:
        return _rows(operation, observed)
    name = f"{operation.table} {operation.key}"
    return {name: f"{name}: {len(operation.rows)} rows"}


def of(name: str) -> str:
    """The object that a name speaks of."""
    return name.partition(": ")[0]


def _told(name: str, why: Sequence[str]) -> dict[str, str]:
    if not why:
        return {name: f"{name}: is missing"}
    return {f"{name}: {_aspect(reason)}": f"{name}: {reason}" for reason in why}


def _aspect(reason: str) -> str:
    """A reason without the values in it, so that it is the same each time: "mtu 1400 → 1450", "wx5000 has mtu 1400"."""
    attribute, arrow, _ = reason.partition(" → ")
    return attribute.split()[0] if arrow else _VALUE.sub("", reason.partition(", not ")[0])


def _segment(key: SegmentKey | RouterDevice) -> str:
    return f"router {key.router}" if isinstance(key, RouterDevice) else f"segment {key}"


def _rows(operation: PutRows | DropRows, observed: Observed | None = None) -> dict[str, str]:
    table, key = operation.table, operation.key
    there = dict[str, str]()
    if observed is not None:
        tables = observed.router_tables.get(key) if isinstance(key, RouterDevice) else observed.tables.get(key)
        rows = (tables or Tables.none())[table]
        last = KEY[table][-1]
        there = {row[0]: _value(row) for row in text(table, rows[np.isin(rows[last], operation.rows[last])])}
    told = {}
    for row in text(table, operation.rows):
        name, found = f"{table} {key} {row[0]}", there.get(row[0], "none")
        told[name] = f"{name}: {found} → {_value(row) if isinstance(operation, PutRows) else 'none'}"
    return told


def _value(row: tuple[str, ...]) -> str:
    return row[1] if len(row) > 1 else "there"


class Drift:
    """`now`: the monotonic clock, seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left: NodePlan | None = None
        self._failing: frozenset[str] = frozenset()
        self._fights = Fights()

    def leave(self, plan: NodePlan, failed: Iterable[Operation]) -> None:
        """The host has been made so, except for what failed."""
        self._left = plan
        self._failing = frozenset(of(name) for operation in failed for name in objects(operation))

    def found(self, observed: Observed, part: Part = None) -> dict[str, str]:
        """What others have changed since, as `objects` tells it; in the rows of these segments only."""
        if self._left is None:
            return {}
        operations = differences(self._left, observed, part)
        whole = {operation.segment.key for operation in operations if isinstance(operation, PutSegment)}
        return {
            name: what
            for operation in operations
            if not (isinstance(operation, PutRows | DropRows) and operation.key in whole)  # gone along with it
            for name, what in objects(operation, observed).items()
            if of(name) not in self._failing
        }

    def repaired(self, names: Iterable[str]) -> list[str]:
        """These were put back; those over which a fight begins with that."""
        return self._fights.repaired(names, self._now())

    def allowed(self, operations: Sequence[Operation]) -> list[Operation]:
        """Without what must wait, because it is fought over; nor can what stands in a segment or router be put before
        it. Putting an object mends all of it: it waits only while all that is wrong with it does."""
        held = self._fights.held(self._now())
        if not held:
            return list(operations)
        absent = {name for operation in operations if (name := _absent(operation)) and _waits(operation, held)}
        return [left for operation in operations if (left := _without(operation, held, absent))]

    def due(self) -> float | None:
        """Seconds until something that waits may be put back."""
        return self._fights.due(self._now())

    def fights(self) -> tuple[str, ...]:
        """One line for each."""
        return self._fights.told(self._now())


def _waits(operation: Operation, held: frozenset[str]) -> bool:
    return objects(operation).keys() <= held


def _absent(operation: Operation) -> str:
    """The segment or router that an operation makes out of nothing, or a device of it."""
    if not isinstance(operation, PutSegment | PutRouter):
        return ""
    if operation.why and not any(reason.endswith("is missing") for reason in operation.why):
        return ""
    return _segment(operation.segment.key) if isinstance(operation, PutSegment) else f"router {operation.router.name}"


def _without(operation: Operation, held: frozenset[str], absent: set[str]) -> Operation | None:
    match operation:
        case PutSegment() | DropSegment() | PutRouter() | DropRouter():
            return None if _waits(operation, held) else operation
        case PutPort(port) | DropPort(port):
            return None if _segment(port.segment) in absent or _waits(operation, held) else operation
        case PutPaths(router) | PutIrb(router):
            return None if f"router {router.name}" in absent or _waits(operation, held) else operation
    table = f"{operation.table} {operation.key}"
    if table in held or _segment(operation.key) in absent:
        return None
    if not any(name.startswith(table) for name in held):
        return operation
    free = np.array([name not in held for name in _rows(operation)], bool)
    return replace(operation, rows=operation.rows[free]) if free.any() else None
