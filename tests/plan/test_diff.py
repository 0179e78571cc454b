"""Plan in, exact operations out, as text a person can review."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.fleet import intent, network, port
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.model.network import FloodMode, Learning
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import DropPort, PutPort
from weft.plan.tables import Table, Tables, empty


def plan(*ports: Any, networks: Any = None, node: str = "h1") -> NodePlan:
    return compile_node(World.of(intent(networks or [network("blue", 5000)], list(ports))), node)


def held(plan: NodePlan, **more: Any) -> Observed:
    return Observed(plan.segments, plan.tables, plan.ports, **more)


def lines(wanted: NodePlan, actual: Observed) -> list[str]:
    return [line for operation in diff(wanted, actual) for line in str(operation).splitlines()]


A, B, C = port("a", "blue", "h1", 1), port("b", "blue", "h2", 2), port("c", "blue", "h3", 3)


def test_from_nothing_to_a_segment() -> None:
    assert lines(plan(A, B), Observed()) == [
        "+ segment 5000 (blue): vtep 192.168.33.11 mtu 1450 static arp suppress",
        "+ port a: segment 5000 namespace a mac 02:00:00:00:00:01 10.1.1.1/24",
        "+ flood 5000: 192.168.33.12",
        "+ fdb 5000: 02:00:00:00:00:02 → 192.168.33.12",
        "+ neighbors 5000: 10.1.1.1 → 02:00:00:00:00:01",
        "+ neighbors 5000: 10.1.1.2 → 02:00:00:00:00:02",
    ]


def test_back_to_nothing_in_reverse_order() -> None:
    assert lines(NodePlan("h1"), held(plan(A, B))) == ["- port a", "- segment 5000 (blue)"]


def test_agreement_needs_no_operation() -> None:
    assert lines(plan(A, B, C), held(plan(A, B, C))) == []


def test_a_move_writes_one_row() -> None:
    moved = port("c", "blue", "h2", 3)
    assert lines(plan(A, B, moved), held(plan(A, B, C))) == [
        "+ fdb 5000: 02:00:00:00:00:03 → 192.168.33.12",
        "- flood 5000: 192.168.33.13",
    ]


def test_rows_go_neighbors_first() -> None:
    assert lines(plan(A, B), held(plan(A, B, C))) == [
        "- neighbors 5000: 10.1.1.3 → 02:00:00:00:00:03",
        "- fdb 5000: 02:00:00:00:00:03 → 192.168.33.13",
        "- flood 5000: 192.168.33.13",
    ]


def test_a_changed_attribute_names_old_and_new() -> None:
    wider = plan(A, B, networks=[network("blue", 5000, mtu=1400)])
    assert lines(wider, held(plan(A, B))) == ["~ segment 5000 (blue): mtu 1450 → 1400", "~ port a: mtu 1450 → 1400"]


def test_a_flaw_is_mended_by_putting_the_object_again() -> None:
    flawed = held(plan(A, B), flaws={plan(A).ports["a"].segment: ("wx5000 is down",), "a": ("wp-a is not in wb5000",)})
    assert lines(plan(A, B), flawed) == ["~ segment 5000 (blue): wx5000 is down", "~ port a: wp-a is not in wb5000"]


def test_a_rebuilt_segment_gets_all_its_rows_again() -> None:
    grouped = [network("blue", 5000, learning=Learning.DATA_PLANE, flood=FloodMode.GROUP, group="239.1.1.1")]
    plain = [network("blue", 5000, learning=Learning.DATA_PLANE)]
    assert lines(plan(A, B, networks=plain), held(plan(A, B, networks=grouped))) == [
        "~ segment 5000 (blue): group 239.1.1.1 → none",
        "+ flood 5000: 192.168.33.12",
    ]


def test_a_port_in_the_way_of_another_is_dropped_first() -> None:
    there = plan(A)
    twin = replace(there.ports["a"], name="twin")
    wanted = NodePlan("h1", there.segments, there.tables, {"twin": twin})
    assert [type(operation) for operation in diff(wanted, held(there))] == [DropPort, PutPort]


def test_tables_compare_by_value() -> None:
    assert plan(A, B).tables == plan(B, A).tables
    assert plan(A, B).tables != plan(A).tables
    assert Tables.none()[Table.FDB].dtype == empty(Table.FDB).dtype


def test_members_matter_to_datapaths_that_judge_senders() -> None:
    group = {"learning": Learning.DATA_PLANE, "flood": FloodMode.GROUP, "group": "239.1.1.1"}
    grouped = [network("blue", 5000, **group)]
    wanted, before = plan(A, B, C, networks=grouped), plan(A, B, networks=grouped)
    told = "~ segment 5000 (blue): members 192.168.33.12 → 192.168.33.12 192.168.33.13"
    assert lines(wanted, held(before)) == [told]
    blind = {key: replace(segment, members=None) for key, segment in before.segments.items()}
    assert lines(wanted, Observed(blind, before.tables, before.ports)) == []
