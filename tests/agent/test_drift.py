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
    assert drift.found(seen(NEXT)) == set(), "it does not know yet how it left things"
    drift.leave(PLAN, ())
    assert drift.found(seen(PLAN)) == set()
    assert diff(NEXT, seen(PLAN)) != []


def test_what_others_did_is_named() -> None:
    drift = Drift(lambda: 0.0)
    drift.leave(PLAN, ())
    there = seen(PLAN)
    there.tables[BLUE] = replace(there.tables[BLUE], fdb=tables.fdb([("02:66:66:66:66:66", "192.168.33.66")]))
    del there.ports["a"]
    there.flaws["g1"] = ("wp-g1 is down",)
    rows = {f"fdb 5000 02:00:00:00:00:{last}" for last in ("02", "03")} | {"fdb 5000 02:66:66:66:66:66"}
    assert drift.found(there) == rows | {"port a", "port g1"}
    del there.segments[BLUE], there.tables[BLUE]
    assert drift.found(there) == {"segment 5000", "port a", "port g1"}, "rows go with their segment"


def test_what_could_not_be_done_is_no_drift() -> None:
    drift = Drift(lambda: 0.0)
    drift.leave(PLAN, diff(PLAN, Observed()))
    assert drift.found(Observed()) == set()


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
