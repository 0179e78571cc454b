"""Drift: what others did to our objects since we left them, told apart from what intent has changed meanwhile. Pure.

The agent leaves the host as a plan says, except for what failed. Whatever an observation finds different from that
plan, somebody else has changed. Objects are named as people see them: "segment 5000", "port a", "fdb 5000 02:…:01";
many rows of one table at once are one object, the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from weft.agent.fight import Fights
from weft.model.network import SegmentKey
from weft.plan.diff import diff
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
from weft.plan.tables import text

ROWS = 64  # rows of one operation that are told one by one


def objects(operation: Operation) -> list[str]:
    """What an operation changes, by name."""
    match operation:
        case PutSegment() | DropSegment():
            return [_segment(operation.segment.key)]
        case PutPort() | DropPort():
            return [f"port {operation.port.name}"]
        case PutRouter() | DropRouter() | PutPaths():
            return [f"router {operation.router.name}"]
        case PutIrb(router, irb):
            return [f"irb {router.name}/{irb.device}"]
        case _:
            return _rows(operation) if len(operation.rows) <= ROWS else [f"{operation.table} {operation.key}"]


def _segment(key: SegmentKey | RouterDevice) -> str:
    return f"router {key.router}" if isinstance(key, RouterDevice) else f"segment {key}"


def _rows(operation: PutRows | DropRows) -> list[str]:
    return [f"{operation.table} {operation.key} {row[0]}" for row in text(operation.table, operation.rows)]


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
        self._failing = frozenset(name for operation in failed for name in objects(operation))

    def found(self, observed: Observed) -> set[str]:
        """The objects that others have changed since."""
        if self._left is None:
            return set()
        operations = diff(self._left, observed)
        whole = {operation.segment.key for operation in operations if isinstance(operation, PutSegment)}
        return {
            name
            for operation in operations
            if not (isinstance(operation, PutRows | DropRows) and operation.key in whole)  # gone along with it
            for name in objects(operation)
        } - self._failing

    def repaired(self, names: Iterable[str]) -> list[str]:
        """These were put back; the objects over which a fight begins with that."""
        return self._fights.repaired(names, self._now())

    def allowed(self, operations: Sequence[Operation]) -> list[Operation]:
        """Without what must wait, because it is fought over; nor can what stands in a segment be put before it."""
        held = self._fights.held(self._now())
        return [left for operation in operations if (left := _without(operation, held))] if held else list(operations)

    def due(self) -> float | None:
        """Seconds until something that waits may be put back."""
        return self._fights.due(self._now())

    def fights(self) -> tuple[str, ...]:
        """One line for each."""
        return self._fights.told(self._now())


def _without(operation: Operation, held: frozenset[str]) -> Operation | None:
    match operation:
        case PutSegment() | DropSegment():
            return None if _segment(operation.segment.key) in held else operation
        case PutPort() | DropPort():
            names = {f"port {operation.port.name}", _segment(operation.port.segment)}
            return operation if held.isdisjoint(names) else None
        case PutRouter() | DropRouter() | PutPaths() | PutIrb():
            names = {f"router {operation.router.name}", *objects(operation)}
            return operation if held.isdisjoint(names) else None
    table = f"{operation.table} {operation.key}"
    if table in held or _segment(operation.key) in held:
        return None
    if not any(name.startswith(table) for name in held):
        return operation
    free = np.array([name not in held for name in _rows(operation)], bool)
    return replace(operation, rows=operation.rows[free]) if free.any() else None
