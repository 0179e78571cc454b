"""What others did is told apart from what intent has changed; what is fought over waits, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

from tests.agent.test_agent import AFTER, BEFORE
from weft.agent.drift import Drift
from weft.agent.fight import FREE
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.plan import tables
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import PutRows

PLAN, NEXT = compile_node(World.of(BEFORE), "h1"), compile_node(World.of(AFTER), "h1")
BLUE = BEFORE.networks["blue"].key


def seen(plan: NodePlan) -> Observed:
    return Observed(dict(plan.segments), dict(plan.tables), dict(plan.ports))


def test_a_change_of_intent_is_no_drift() -> None:
    drift = Drift(lambda: 0.0)
    assert drift.found(seen(NEXT)) == {}, "it does not know yet how it left things"
    drift.leave(PLAN, ())
    assert drift.found(seen(PLAN)) == {}
    assert diff(NEXT, seen(PLAN)) != []


def test_what_others_did_is_named() -> None:
    drift = Drift(lambda: 0.0)
    drift.leave(PLAN, ())
    there = seen(PLAN)
    there.tables[BLUE] = replace(there.tables[BLUE], fdb=tables.fdb([("02:66:66:66:66:66", "192.168.33.66")]))
    del there.ports["a"]
    there.flaws["g1"] = ("wp-g1 is down",)
    rows = {f"fdb 5000 02:00:00:00:00:{last}" for last in ("02", "03")} | {"fdb 5000 02:66:66:66:66:66"}
    assert drift.found(there).keys() == rows | {"port a", "port g1: wp-g1 is down"}
    del there.segments[BLUE], there.tables[BLUE]
    found = drift.found(there)
    assert found.keys() == {"segment 5000", "port a", "port g1: wp-g1 is down"}, "rows go with their segment"


def test_what_was_found_and_what_is_planned_is_told() -> None:
    drift = Drift(lambda: 0.0)
    drift.leave(PLAN, ())
    there = seen(PLAN)
    rows = [("02:00:00:00:00:02", "192.168.33.66"), ("02:66:66:66:66:66", "192.168.33.66")]
    there.tables[BLUE] = replace(there.tables[BLUE], fdb=tables.fdb(rows), flood=tables.flood([]))
    there.segments[BLUE] = replace(there.segments[BLUE], mtu=1300)
    there.flaws[BLUE] = ("wx5000 has mtu 1300, not 1450",)
    del there.ports["a"]
    found = drift.found(there)
    assert found["segment 5000: mtu"] == "segment 5000: mtu 1300 → 1450"
    assert found["segment 5000: wx5000 has mtu"] == "segment 5000: wx5000 has mtu 1300, not 1450"
    assert found["port a"] == "port a: is missing"
    del there.flaws[BLUE]
    there.segments[BLUE] = PLAN.segments[BLUE]
    found = drift.found(there)
    assert found["fdb 5000 02:00:00:00:00:02"] == "fdb 5000 02:00:00:00:00:02: 192.168.33.66 → 192.168.33.12"
    assert found["fdb 5000 02:00:00:00:00:03"] == "fdb 5000 02:00:00:00:00:03: none → 192.168.33.13"
    assert found["fdb 5000 02:66:66:66:66:66"] == "fdb 5000 02:66:66:66:66:66: 192.168.33.66 → none"
    assert found["flood 5000 192.168.33.12"] == "flood 5000 192.168.33.12: none → there"


def test_what_is_fought_over_holds_up_nothing_else_of_its_object() -> None:
    drift = Drift(lambda: 0.0)
    there = seen(PLAN)
    there.segments[BLUE] = replace(PLAN.segments[BLUE], mtu=1300)
    for _ in range(FREE + 1):
        drift.repaired(["segment 5000: mtu"])
    assert drift.allowed(diff(PLAN, there)) == []
    del there.ports["a"]
    assert [str(left).partition(":")[0] for left in drift.allowed(diff(PLAN, there))] == ["+ port a"]
    there.flaws[BLUE] = ("wb5000 is missing",)
    assert str(drift.allowed(diff(PLAN, there))[0]).startswith("~ segment 5000 (blue)")
    del there.segments[BLUE], there.tables[BLUE]
    assert [*map(str, drift.allowed(diff(PLAN, there)))] == [*map(str, diff(PLAN, there))]
    assert drift.fights()[0].startswith("segment 5000 (mtu) was changed by another program 6 times")


def test_what_could_not_be_done_is_no_drift() -> None:
    drift = Drift(lambda: 0.0)
    drift.leave(PLAN, diff(PLAN, Observed()))
    assert drift.found(Observed()) == {}


def test_what_is_fought_over_waits_alone() -> None:
    drift = Drift(lambda: 0.0)
    wanted = diff(PLAN, Observed())
    for _ in range(FREE + 1):
        drift.repaired(["port a", "fdb 5000 02:00:00:00:00:02"])
    left = [str(operation) for operation in drift.allowed(wanted)]
    everything = "\n".join(map(str, wanted)).splitlines()
    assert set(everything) - set("\n".join(left).splitlines()) == {
        line for line in everything if "+ port a:" in line or line.startswith("+ fdb 5000: 02:00:00:00:00:02")
    }
    assert drift.due() == 1.0


def test_what_stands_in_a_segment_waits_with_it() -> None:
    drift = Drift(lambda: 0.0)
    for _ in range(FREE + 1):
        drift.repaired(["segment 5000"])
    left = drift.allowed(diff(PLAN, Observed()))
    assert not any("5000" in str(operation).split(" (")[0] for operation in left)
    assert any(isinstance(operation, PutRows) for operation in left), "the other network goes on"
