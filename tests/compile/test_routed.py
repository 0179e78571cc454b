"""A routed network's part of a node plan: three rows for every peer, whichever node asks and whatever came first."""

from __future__ import annotations

from tests.fleet import network, nodes
from weft.agent.feed import Feed
from weft.compile.macs import vtep_mac
from weft.compile.node import compile_node, recompile
from weft.compile.rows import touch
from weft.compile.world import World
from weft.model.endpoint import Endpoint
from weft.model.intent import Intent
from weft.model.network import Routed
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed
from weft.store.records import Keys, encode
from weft.store.store import Change, Changes, Item, Snapshot

PODS = network(
    "pods",
    1,
    subnets=("10.2.0.0/16",),
    udp_port=8472,
    routed=Routed(prefix_length=24, prefixes={f"h{i}": f"10.2.{i}.0/24" for i in range(1, 5)}),
)


def test_a_node_has_its_own_prefix_and_three_rows_for_every_peer() -> None:
    plan = compile_node(World.of(Intent(nodes(3), {"pods": PODS})), "h1")
    assert "\n".join(str(operation) for operation in diff(plan, Observed())) == (
        "+ segment 1.8472 (pods): vtep 192.168.33.11 mtu 1450 routed 0a:7f:f8:e1:9a:86 10.2.1.0/32\n"
        "+ fdb 1.8472: 0a:03:b4:28:93:5b → 192.168.33.12\n"
        "+ fdb 1.8472: 0a:51:52:ee:f5:91 → 192.168.33.13\n"
        "+ neighbors 1.8472: 10.2.2.0 → 0a:03:b4:28:93:5b\n"
        "+ neighbors 1.8472: 10.2.3.0 → 0a:51:52:ee:f5:91\n"
        "+ routes 1.8472: 10.2.2.0/24 → 10.2.2.0\n"
        "+ routes 1.8472: 10.2.3.0/24 → 10.2.3.0"
    )


def test_the_mac_that_peers_know_is_the_devices() -> None:
    world = World.of(Intent(nodes(2), {"pods": PODS}))
    one, other = (compile_node(world, name) for name in ("h1", "h2"))
    segment = other.segments[PODS.key]
    assert segment.routed is not None
    rows = [str(operation) for operation in diff(one, Observed(segments=one.segments))]
    assert f"+ fdb 1.8472: {segment.routed.mac} → {segment.vtep}" in rows


def test_a_node_without_a_prefix_and_one_that_is_not_listed_take_no_part() -> None:
    assert compile_node(World.of(Intent(nodes(5), {"pods": PODS})), "h5").segments == {}
    listed = network("pods", 1, routed=Routed(prefix_length=24, nodes=("h1", "h2"), prefixes=PODS.routed.prefixes))  # type: ignore[union-attr]
    world = World.of(Intent(nodes(3), {"pods": listed}))
    assert compile_node(world, "h3").segments == {}
    assert len(compile_node(world, "h1").tables[listed.key].routes) == 1


def test_endpoints_that_somebody_stored_change_nothing() -> None:
    world = World.of(Intent(nodes(2), {"pods": PODS}))
    plan = compile_node(world, "h1")
    mac = vtep_mac(PODS.key, "h2")
    world.see(Endpoint(key=PODS.key, mac=mac, node="h1", ips=("10.2.2.0",), source="learned"))
    assert touch(plan, world, PODS, [mac], ["10.2.2.0"]) == (plan, [])
    assert compile_node(world, "h1").tables == plan.tables


def test_a_peer_that_comes_or_moves_is_news() -> None:
    keys, fleet = Keys(), nodes(3)
    feed = Feed(keys, "h1")
    things = [fleet["h1"], fleet["h2"], PODS]
    feed.load(Snapshot(1, tuple(Item(keys.of(thing), encode(thing), 1) for thing in things)))
    plan = recompile(NodePlan("h1"), feed.world, feed.taken())
    for number, thing in enumerate((fleet["h3"], None), 2):
        feed.take(Changes(number, (Change(keys.of(fleet["h3"]), encode(thing) if thing else None, number),)))
        plan = recompile(plan, feed.world, feed.taken())
        whole = compile_node(feed.world, "h1")
        assert (plan.segments, plan.tables) == (whole.segments, whole.tables)
        assert len(plan.tables[PODS.key].routes) == 3 - number + 1
