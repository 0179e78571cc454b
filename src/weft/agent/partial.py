"""Only the rows of some segments were touched by others: these alone are read, compared and put back.

So what others do to a row costs its segment, not its host. Anything else that is told of, and every resync, has the
whole host looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from weft.l2.datapath import Datapath, Event, RowsObserved
from weft.model.network import SegmentKey
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import Operation

Part = Collection[SegmentKey] | None
"""Segments of whose rows something is said; None: of everything."""


def rows_touched(events: Iterable[Event]) -> set[SegmentKey] | None:
    """The segments that the events are about; None where one is about more than rows."""
    touched: set[SegmentKey] = set()
    for event in events:
        if event.segment is None or not event.rows:
            return None
        touched.add(event.segment)
    return touched


def look(datapath: Datapath, stale: Collection[SegmentKey], before: Observed | None) -> tuple[Observed, Part]:
    """What is there now, and what of it was read anew. `before`: as it was, but for the rows of `stale` segments; None:
    nobody knows."""
    if before is None:
        return datapath.observe(), None
    if not stale:
        return before, ()
    found = datapath.observe_rows(stale, before) if isinstance(datapath, RowsObserved) else None
    return (datapath.observe(), None) if found is None else (found, stale)


def differences(wanted: NodePlan, observed: Observed, part: Part = None) -> list[Operation]:
    """As `diff`, of the rows of these segments only."""
    if part is None:
        return diff(wanted, observed)
    segments = {key: wanted.segments[key] for key in part if key in wanted.segments}
    tables = {key: wanted.tables[key] for key in part if key in wanted.tables}
    there = {key: observed.tables[key] for key in part if key in observed.tables}
    return diff(replace(NodePlan(wanted.node), segments=segments, tables=tables), Observed(segments, there))
