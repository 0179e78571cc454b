"""Segments, tables and ports as plan values in dictionaries, changed by operations as a real datapath would be.

It keeps a real one's habits: building a segment anew empties its tables, rows and ports need their segment, dropping
a segment leaves its ports hanging (a flaw), and each operation fails or succeeds by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import weft
from weft.l2.datapath import Applied, Counters, Event, Heard, Punted, Sought, ToPorts, ToTunnels
from weft.l2.fake.faults import Faults
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.model.node import DatapathKind, Facts
from weft.plan.node import Observed
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
from weft.plan.port import LocalPort
from weft.plan.router import Router, RouterDevice
from weft.plan.segment import Segment
from weft.plan.tables import Rows, Table, Tables, empty, replaced


class FakeDatapath:
    """Implements weft.l2.datapath.Datapath. `log`: every operation done, `injected`: every frame.

    Tests may change `segments`, `tables`, `ports` and `flaws` behind its back, and say so with `touch`.
    """

    def __init__(self, faults: Faults | None = None, missing: dict[str, str] | None = None) -> None:
        self.faults = faults or Faults()
        self.missing = missing or {}
        self.segments: dict[SegmentKey, Segment] = {}
        self.tables: dict[SegmentKey, Tables] = {}
        self.ports: dict[str, LocalPort] = {}
        self.flaws: dict[SegmentKey | str | RouterDevice, tuple[str, ...]] = {}
        self.routers: dict[str, Router] = {}
        self.router_tables: dict[RouterDevice, Tables] = {}
        self.learned: dict[SegmentKey, Tables] = {}
        self.log: list[Operation] = []
        self.injected: list[tuple[SegmentKey, bytes, ToPorts | ToTunnels]] = []
        self.punted: list[Punted | Heard | Sought] = []
        self.watched: frozenset[SegmentKey] = frozenset()
        self.observations = 0
        self.closed = False
        self._events: list[Event] = []

    def facts(self, node: str, vtep: str) -> Facts:
        return Facts(
            node=node,
            version=weft.__version__,
            datapath=DatapathKind.KERNEL,
            interface="eth1",
            underlay_mtu=1500,
            addresses=(vtep,),
            missing=self.missing,
        )

    def observe(self) -> Observed:
        self.observations += 1
        if self.faults.fail_observe:
            raise WeftError(Kind.FAILED, "cannot read links", where="fake")
        hanging: dict[SegmentKey | str | RouterDevice, tuple[str, ...]] = {
            name: (f"not in {port.segment}",) for name, port in self.ports.items() if port.segment not in self.segments
        }
        flaws = self.flaws | hanging
        return Observed(
            dict(self.segments),
            dict(self.tables),
            dict(self.ports),
            flaws,
            dict(self.learned),
            dict(self.routers),
            dict(self.router_tables),
        )

    def apply(self, operations: Sequence[Operation]) -> Applied:
        done: list[Operation] = []
        failed: list[tuple[Operation, WeftError]] = []
        for number, operation in enumerate(operations):
            if self.faults.raise_after is not None and number >= self.faults.raise_after:
                raise WeftError(Kind.FAILED, f"cut off after {number} operations", where="fake")
            try:
                self.faults.check(operation)
                self._do(operation)
            except WeftError as error:
                failed.append((operation, error))
            else:
                done.append(operation)
        self.log += done
        return Applied(tuple(done), tuple(failed))

    def _do(self, operation: Operation) -> None:
        match operation:
            case PutSegment(segment, _, rebuild):
                if rebuild or segment.key not in self.segments:
                    self.tables[segment.key] = Tables.none()
                self.segments[segment.key] = segment
                self.flaws.pop(segment.key, None)
            case DropSegment(segment):
                self.segments.pop(segment.key, None)
                self.tables.pop(segment.key, None)
                self.flaws.pop(segment.key, None)
            case PutPort(port):
                self._there(port.segment)
                self.ports[port.name] = port
                self.flaws.pop(port.name, None)
            case DropPort(port):
                self.ports.pop(port.name, None)
                self.flaws.pop(port.name, None)
                self._unplug(port)
            case PutRows(key, table, rows):
                self._rows(key, table, rows, empty(table))
            case DropRows(key, table, rows):
                self._rows(key, table, empty(table), rows)
            case _:
                self._route(operation)

    def _unplug(self, port: LocalPort) -> None:
        """With the port goes the router's interface that it was, and what stood on it."""
        for name, router in self.routers.items():
            if router.namespace == port.attach.target:
                left = tuple(irb for irb in router.interfaces if irb.device != port.attach.interface)
                self.routers[name] = replace(router, interfaces=left)
                self.router_tables.pop(RouterDevice(name, port.attach.interface), None)

    def _route(self, operation: Operation) -> None:
        match operation:
            case PutRouter(router):
                there = self.routers.get(router.name)
                parts = (there.interfaces, there.routes, there.rules) if there else ((), (), ())
                if there and there.l3 and there.l3 != router.l3:
                    self.router_tables.pop(RouterDevice(router.name, there.l3.device), None)
                self.routers[router.name] = replace(router, interfaces=parts[0], routes=parts[1], rules=parts[2])
                self.flaws.pop(RouterDevice(router.name, ""), None)
            case DropRouter(router):
                self.routers.pop(router.name, None)
                for key in [key for key in self.router_tables if key.router == router.name]:
                    del self.router_tables[key]
            case PutIrb(router, irb):
                here = self._router(router.name)
                others = [each for each in here.interfaces if each.device != irb.device]
                interfaces = tuple(sorted((*others, irb), key=lambda each: each.device))
                self.routers[router.name] = replace(here, interfaces=interfaces)
            case PutPaths(router):
                here = self._router(router.name)
                self.routers[router.name] = replace(here, routes=router.routes, rules=router.rules)

    def _router(self, name: str) -> Router:
        if name not in self.routers:
            raise WeftError(Kind.FAILED, "its namespace is missing", where=f"router {name}")
        return self.routers[name]

    def _there(self, key: SegmentKey | RouterDevice) -> Tables:
        if isinstance(key, RouterDevice):
            self._router(key.router)
            return self.router_tables.get(key, Tables.none())
        if key not in self.segments:
            raise WeftError(Kind.FAILED, "the segment is missing", where=str(key))
        return self.tables[key]

    def _rows(self, key: SegmentKey | RouterDevice, table: Table, put: Rows, drop: Rows) -> None:
        there = self._there(key)
        half = self.faults.fail_half
        if half:
            put, drop = put[: len(put) // 2], drop[: len(drop) // 2]
        # What comes into an empty table is in order already, and is not copied: a real one's rows are not ours either.
        rows = replaced(table, there[table], drop, put) if len(there[table]) else put
        left = replace(there, **{table.value: rows})
        if isinstance(key, RouterDevice):
            self.router_tables[key] = left
        else:
            self.tables[key] = left
        if half:
            raise WeftError(Kind.FAILED, "half of the rows were refused", where=f"{table} of {key}")

    def touch(self, what: str, segment: SegmentKey | None = None) -> None:
        """Somebody changed something: an event, unless events are lost."""
        if not self.faults.lose_events:
            self._events.append(Event(what, segment))

    def events(self) -> Sequence[Event]:
        found, self._events = self._events, []
        return found

    def events_fd(self) -> int | None:
        return None

    def watch(self, segments: Collection[SegmentKey]) -> None:
        self.watched = frozenset(segments)

    def hear(self, punted: Punted | Heard | Sought) -> None:
        """A local host spoke; nobody listens where nobody asked."""
        if punted.segment in self.watched:
            self.punted.append(punted)

    def punt(self) -> Sequence[Punted | Heard | Sought]:
        found, self.punted = self.punted, []
        return found

    def punt_fd(self) -> int | None:
        return None

    def speaker(self, segment: SegmentKey) -> str:
        self._there(segment)
        return "02:00:00:00:fa:ce"

    def inject(self, segment: SegmentKey, frame: bytes, to: ToPorts | ToTunnels) -> None:
        self._there(segment)
        self.injected.append((segment, frame, to))

    def counters(self) -> Counters:
        return Counters(dict.fromkeys(self.ports, (0, 0, 0, 0)), dict.fromkeys(self.segments, (0, 0, 0, 0)))

    def close(self) -> None:
        self.closed = True
