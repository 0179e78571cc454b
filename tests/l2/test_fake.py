"""The fake keeps a real datapath's contract: every fault, once gone, leaves a state from which a diff converges."""

from __future__ import annotations

import pytest

from weft.l2.datapath import Datapath
from weft.l2.fake import FakeDatapath, Faults
from weft.model.errors import WeftError
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach, AttachKind
from weft.plan import tables
from weft.plan.diff import diff
from weft.plan.node import NodePlan
from weft.plan.operations import DropPort, DropRows, DropSegment, PutPort, PutRows, PutSegment
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Tables

BLUE, GREEN = SegmentKey(4789, 5000), SegmentKey(4789, 6000)


def plan(key: SegmentKey, remote: int, port: str) -> NodePlan:
    rows = Tables(
        tables.fdb((f"02:00:00:00:{remote:02x}:{i:02x}", f"192.168.33.{remote}") for i in range(4)),
        tables.neighbors((f"10.1.1.{i}", f"02:00:00:00:{remote:02x}:{i:02x}") for i in range(4)),
        tables.flood([f"192.168.33.{remote}", "192.168.33.99"]),
    )
    segment = Segment(key, "blue", "192.168.33.12", 1450, False, 300, Arp.SUPPRESS)
    attach = Attach(kind=AttachKind.NAMESPACE, target=port)
    local = LocalPort(port, key, attach, "02:00:00:00:00:0a", ("10.1.1.11/24",), 1450)
    return NodePlan("h1", {key: segment}, {key: rows}, {port: local})


BEFORE, AFTER = plan(BLUE, 13, "a"), plan(GREEN, 14, "b")
SAME_SEGMENT = plan(BLUE, 15, "c")
KINDS = (PutSegment, DropSegment, PutPort, DropPort, PutRows, DropRows)
FAULTS = [
    *(Faults(fail_nth=number) for number in range(1, 12)),
    *(Faults(fail_kinds=(kind,)) for kind in KINDS),
    *(Faults(raise_after=number) for number in range(10)),
    Faults(fail_half=True),
    Faults(foreign={GREEN, "b"}),
    Faults(foreign={BLUE, "a"}),
]


def text(fault: Faults) -> str:
    """The same text in every process: sets have no order."""
    parts = {name: getattr(fault, name) for name in fault.__dataclass_fields__}
    told = {name: sorted(map(str, v)) if isinstance(v, set | frozenset) else v for name, v in parts.items()}
    return " ".join(f"{name}={value}" for name, value in told.items() if value not in (None, False, (), []))


def bring(path: Datapath, wanted: NodePlan) -> None:
    path.apply(diff(wanted, path.observe()))


@pytest.mark.parametrize("fault", FAULTS, ids=text)
@pytest.mark.parametrize("wanted", [AFTER, SAME_SEGMENT, NodePlan("h1")], ids=["other", "same", "nothing"])
def test_every_fault_converges_once_it_is_gone(fault: Faults, wanted: NodePlan) -> None:
    path = FakeDatapath()
    bring(path, BEFORE)
    assert diff(BEFORE, path.observe()) == []
    for name in Faults.__slots__:
        setattr(path.faults, name, getattr(fault, name))
    try:
        bring(path, wanted)
    except WeftError:
        assert fault.raise_after is not None
    path.faults.clear()
    bring(path, wanted)
    assert diff(wanted, path.observe()) == []
    assert path.observe().segments == wanted.segments
    assert path.observe().ports == wanted.ports
    assert path.observe().tables == wanted.tables


def test_a_failure_is_told_and_the_rest_goes_on() -> None:
    path = FakeDatapath(Faults(fail_kinds=(PutPort,)))
    applied = path.apply(diff(BEFORE, path.observe()))
    assert not applied.ok
    assert [type(operation) for operation, _ in applied.failed] == [PutPort]
    assert path.tables == BEFORE.tables


def test_what_needs_a_segment_fails_without_it() -> None:
    path = FakeDatapath(Faults(fail_kinds=(PutSegment,)))
    applied = path.apply(diff(BEFORE, path.observe()))
    assert applied.done == ()
    assert {type(operation) for operation, _ in applied.failed} == {PutSegment, PutPort, PutRows}


def test_events_are_told_once_or_lost() -> None:
    path = FakeDatapath()
    path.touch("row gone", BLUE)
    assert [event.segment for event in path.events()] == [BLUE]
    assert path.events() == []
    path.faults.lose_events = True
    path.touch("row gone", BLUE)
    assert path.events() == []


def test_drift_behind_its_back_is_mended() -> None:
    path = FakeDatapath()
    bring(path, BEFORE)
    path.tables[BLUE] = Tables.none()
    path.flaws[BLUE] = ("wx5000 is down",)
    del path.ports["a"]
    assert len(diff(BEFORE, path.observe())) == 5
    bring(path, BEFORE)
    assert diff(BEFORE, path.observe()) == []
