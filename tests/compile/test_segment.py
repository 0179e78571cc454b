"""Compile: who is told what, in every mode."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fleet import intent, network, port
from weft.compile.node import compile_node, recompile
from weft.compile.world import World
from weft.model.endpoint import Endpoint
from weft.model.intent import Intent
from weft.model.network import Arp, FloodMode, Learning, SegmentKey
from weft.model.node import DatapathKind, Facts, Node
from weft.model.port import Attach, AttachKind
from weft.plan.node import NodePlan
from weft.plan.tables import Table, text

KEY = SegmentKey(4789, 5000)
PORTS = [port("a", "blue", "h1", 1), port("b", "blue", "h2", 2), port("c", "blue", "h3", 3)]


def plan(
    node: str, *, facts: dict[str, Facts] | None = None, seen: list[Endpoint] | None = None, **more: Any
) -> NodePlan:
    ports = more.pop("ports", PORTS)
    return compile_node(World.of(intent([network("blue", 5000, **more)], ports), facts, seen or []), node)


def rows(of: NodePlan, table: Table) -> list[tuple[str, ...]]:
    return text(table, of.tables[KEY][table])


def facts(node: str, **more: Any) -> Facts:
    return Facts(node=node, version="0", datapath=DatapathKind.KERNEL, **more)


def test_control_plane_knows_every_remote_mac_and_every_ip() -> None:
    of = plan("h1")
    assert rows(of, Table.FDB) == [("02:00:00:00:00:02", "192.168.33.12"), ("02:00:00:00:00:03", "192.168.33.13")]
    assert [ip for ip, _ in rows(of, Table.NEIGHBORS)] == ["10.1.1.1", "10.1.1.2", "10.1.1.3"]
    assert rows(of, Table.FLOOD) == [("192.168.33.12",), ("192.168.33.13",)]
    assert not of.segments[KEY].learning


def test_data_plane_fills_no_table_but_the_flood_list() -> None:
    of = plan("h1", learning=Learning.DATA_PLANE)
    assert (rows(of, Table.FDB), rows(of, Table.NEIGHBORS), len(rows(of, Table.FLOOD))) == ([], [], 2)
    assert of.segments[KEY].learning


@pytest.mark.parametrize("arp", [Arp.FLOOD, Arp.PROXY])
def test_only_suppress_fills_neighbors(arp: Arp) -> None:
    assert rows(plan("h1", arp=arp), Table.NEIGHBORS) == []


def test_a_host_port_is_no_neighbor_of_its_own_host() -> None:
    host = port("a", "blue", "h1", 1, attach=Attach(kind=AttachKind.HOST))
    assert [ip for ip, _ in rows(plan("h1", ports=[host, PORTS[1]]), Table.NEIGHBORS)] == ["10.1.1.2"]
    assert [ip for ip, _ in rows(plan("h2", ports=[host, PORTS[1]]), Table.NEIGHBORS)] == ["10.1.1.1", "10.1.1.2"]


def test_flood_none_has_no_list() -> None:
    assert rows(plan("h1", flood=FloodMode.NONE), Table.FLOOD) == []


def test_a_group_replaces_the_list_where_all_can_receive_it() -> None:
    of = plan("h1", flood=FloodMode.GROUP, group="239.1.1.1")
    assert (of.segments[KEY].group, rows(of, Table.FLOOD)) == ("239.1.1.1", [])
    assert of.segments[KEY].members == ("192.168.33.12", "192.168.33.13")


def test_a_peer_without_groups_gets_a_unicast_copy_and_sends_unicast_to_all() -> None:
    told = {"h3": facts("h3", receives_groups=False)}
    group = {"flood": FloodMode.GROUP, "group": "239.1.1.1"}
    assert rows(plan("h1", facts=told, **group), Table.FLOOD) == [("192.168.33.13",)]
    limited = plan("h3", facts=told, **group)
    assert limited.segments[KEY].group is None
    assert limited.segments[KEY].members is None
    assert rows(limited, Table.FLOOD) == [("192.168.33.11",), ("192.168.33.12",)]


def test_open_vswitch_is_taken_not_to_receive_groups_before_it_reports() -> None:
    world = World.of(intent([network("blue", 5000, flood=FloodMode.GROUP, group="239.1.1.1")], PORTS))
    world.nodes["h3"] = Node(name="h3", vtep="192.168.33.13", datapath=DatapathKind.OVS)
    assert text(Table.FLOOD, compile_node(world, "h1").tables[KEY].flood) == [("192.168.33.13",)]


def test_a_node_without_a_port_has_no_segment_and_is_in_no_flood_list() -> None:
    assert plan("h3", ports=PORTS[:2]).segments == {}
    assert rows(plan("h1", ports=PORTS[:2]), Table.FLOOD) == [("192.168.33.12",)]


def test_mtu_follows_the_narrowest_member_unless_stated() -> None:
    told = {"h1": facts("h1", underlay_mtu=9000), "h2": facts("h2", underlay_mtu=1400), "h3": facts("h3")}
    assert plan("h1", facts=told).segments[KEY].mtu == 1350
    assert plan("h1", facts=told, mtu=1300).segments[KEY].mtu == 1300
    assert plan("h1").segments[KEY].mtu == 1450


def test_an_ipv6_underlay_costs_seventy_octets() -> None:
    world = World.of(intent([network("blue", 5000)], PORTS))
    world.nodes = {name: Node(name=name, vtep=f"fd33::{name[1]}") for name in world.nodes}
    of = compile_node(world, "h1")
    assert of.segments[KEY].mtu == 1430
    assert rows(of, Table.FLOOD) == [("fd33::2",), ("fd33::3",)]


def test_sightings_beside_declarations() -> None:
    stranger = Endpoint(key=KEY, mac="02:00:00:00:00:77", node="h2", ips=("10.1.1.77",), source="learned")
    moved = Endpoint(key=KEY, mac="02:00:00:00:00:03", node="h2", ips=("10.1.1.3",), sequence=4, source="learned")
    of = plan("h1", seen=[stranger, moved])
    assert ("02:00:00:00:00:77", "192.168.33.12") in rows(of, Table.FDB)
    assert ("02:00:00:00:00:03", "192.168.33.13") in rows(of, Table.FDB), "a declaration wins over a sighting"
    mobile = [*PORTS[:2], port("c", "blue", "h3", 3, mobile=True)]
    assert ("02:00:00:00:00:03", "192.168.33.12") in rows(plan("h1", ports=mobile, seen=[moved]), Table.FDB)


def test_of_two_sightings_the_higher_sequence_wins_on_every_node() -> None:
    old = Endpoint(key=KEY, mac="02:00:00:00:00:77", node="h2", sequence=1)
    new = Endpoint(key=KEY, mac="02:00:00:00:00:77", node="h3", sequence=2)
    for order in ([old, new], [new, old]):
        assert ("02:00:00:00:00:77", "192.168.33.13") in rows(plan("h1", seen=order), Table.FDB)


def test_tenants_share_addresses_and_nothing_else() -> None:
    twin = [port(f"green-{p.name}", "green", p.node, int(p.mac[-2:], 16)) for p in PORTS[:2]]
    of = compile_node(World.of(intent([network("blue", 5000), network("green", 6000)], [*PORTS[:2], *twin])), "h1")
    assert sorted(key.vni for key in of.segments) == [5000, 6000]
    assert {port.segment.vni for port in of.ports.values() if port.name.startswith("green")} == {6000}


def test_recompiling_the_changed_network_alone_gives_the_whole_plan() -> None:
    networks = [network("blue", 5000), network("green", 6000)]
    world = World.of(intent(networks, PORTS))
    before = compile_node(world, "h1")
    for new in (port("g", "green", "h1", 9), port("k", "green", "h2", 8)):
        world.put_port("green", new.name, new)
    assert recompile(before, world, ["green"]) == compile_node(world, "h1")
    del world.networks["blue"]
    assert recompile(before, world, ["blue", "green"]) == compile_node(world, "h1")


def test_an_unknown_node_has_an_empty_plan() -> None:
    assert compile_node(World.of(Intent()), "h9") == NodePlan("h9")
