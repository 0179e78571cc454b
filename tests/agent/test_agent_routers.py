"""Routers under the agent: applied once, every fault heals, broken records hold, a dead peer moves what it held."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fleet import network, nodes, port
from weft.agent.agent import Agent
from weft.agent.cleanup import cleanup
from weft.compile.node import compile_node
from weft.compile.peers import peers
from weft.compile.world import World
from weft.l2.fake import FakeDatapath, Faults
from weft.model.intent import Intent
from weft.model.port import Port
from weft.model.router import Route, Router
from weft.plan.operations import DropRouter, PutIrb, PutPaths, PutRouter
from weft.plan.tables import Table
from weft.store import Put, Store, open_store
from weft.store.intent import update
from weft.store.records import Keys

KEYS = Keys()
NETWORKS = {"ten": network("ten", 10), "twenty": network("twenty", 20, subnets=("20.1.1.0/24",))}
GATEWAYS = {"ten": ("10.1.1.1",), "twenty": ("20.1.1.1",)}


def intent(*routers: Router) -> Intent:
    far = port("b", "twenty", "h2", 12)
    ports = {
        "a": port("a", "ten", "h1", 11),
        "b": Port(name="b", network="twenty", node="h2", attach=far.attach, mac=far.mac, ips=("20.1.1.12",)),
    }
    return Intent(nodes(4), NETWORKS, {router.name: router for router in routers}, ports)


BEFORE = intent(Router(name="r", gateways=GATEWAYS, vni=5000), Router(name="old", gateways={"ten": ("10.1.1.9",)}))
AFTER = intent(
    Router(name="r", gateways=GATEWAYS, routes=(Route(to="50.0.0.0/8", via=("10.1.1.11",)),)),
    Router(name="new", gateways={"ten": ("10.1.1.8",)}, placement=("h1",)),
)
PLACED = intent(Router(name="gw", gateways=GATEWAYS, placement=("h3", "h4")))


async def fed(of: Intent, datapath: FakeDatapath, node: str = "h1") -> tuple[Store, Agent]:
    store = open_store("memory:")
    await update(store, KEYS, lambda stored: of)
    agent = Agent(store, node, datapath)
    agent.feed.load(await store.snapshot(agent.feed.prefixes))
    return store, agent


async def changed(store: Store, agent: Agent, to: Intent) -> None:
    await update(store, KEYS, lambda stored: to)
    agent.feed.load(await store.snapshot(agent.feed.prefixes))


def holds(datapath: FakeDatapath, want: Intent, node: str = "h1", dead: frozenset[str] = frozenset()) -> bool:
    world = World.of(want, {node: datapath.facts(node, want.nodes[node].vtep)})
    world.dead = dead
    plan = compile_node(world, node)
    held = {key: rows for key, rows in datapath.router_tables.items() if any(len(rows[table]) for table in Table)}
    wanted = {key: rows for key, rows in plan.router_tables.items() if any(len(rows[table]) for table in Table)}
    return (datapath.segments, datapath.ports, datapath.routers, held) == (
        plan.segments,
        plan.ports,
        plan.routers,
        wanted,
    )


def run(main: Any) -> None:
    asyncio.run(main)


def test_routers_are_applied_once_and_then_nothing() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(BEFORE, datapath)
        assert agent.reconcile()
        assert holds(datapath, BEFORE)
        assert (agent.status.routers, agent.status.in_sync, agent.status.notes) == (2, True, ())
        done = len(datapath.log)
        agent._observed = None
        assert agent.reconcile()
        assert len(datapath.log) == done
        await changed(store, agent, AFTER)
        assert agent.reconcile()
        assert holds(datapath, AFTER)
        assert cleanup(datapath, "h1").ok
        assert (datapath.routers, datapath.segments, datapath.ports) == ({}, {}, {})

    run(main())


@pytest.mark.parametrize("kind", [PutRouter, PutIrb, PutPaths, DropRouter])
def test_every_fault_in_every_operation_heals(kind: type) -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        await changed(store, agent, AFTER)
        datapath.faults = Faults(fail_kinds=(kind,))
        for _ in range(3):
            agent.reconcile()
            agent._observed = None
        assert not agent.status.in_sync
        assert agent.status.errors
        datapath.faults = Faults()
        for _ in range(4):
            agent.reconcile()
        assert holds(datapath, AFTER)
        assert agent.status.errors == ()

    run(main())


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_a_broken_router_is_held_as_it_is(restart: bool) -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        await store.transact([], [Put(f"{KEYS.intent}routers/r", b'{"vni": "x"}')])
        if restart:
            agent = Agent(store, "h1", datapath)
        agent.feed.load(await store.snapshot(agent.feed.prefixes))
        before = dict(datapath.routers)
        agent.reconcile()
        assert datapath.routers == before
        assert "r/ten" in datapath.ports
        assert any("router r is held" in error for error in agent.status.errors)

    run(main())


def test_a_dead_peer_moves_the_gateway_and_its_return_moves_it_back() -> None:
    async def main() -> None:
        paths = {name: FakeDatapath() for name in PLACED.nodes}
        agents = {name: (await fed(PLACED, path, name))[1] for name, path in paths.items()}
        for agent in agents.values():
            assert agent.reconcile()
        assert [name for name, path in paths.items() if path.routers] == ["h3"]
        for name, agent in agents.items():
            assert agent.feed.suspect(frozenset({"h3"} - {name})) == (name != "h3")
            assert agent.reconcile()
            assert holds(paths[name], PLACED, name, agent.feed.world.dead)
        assert [name for name, path in paths.items() if path.routers] == ["h3", "h4"], "each side serves itself"
        for agent in agents.values():
            agent.feed.suspect(frozenset())
            assert agent.reconcile()
        assert [name for name, path in paths.items() if path.routers] == ["h3"], "the order decides"

    run(main())


def test_who_is_probed_is_who_matters() -> None:
    world = World.of(PLACED)
    assert peers(world, "h1") == {"h3": "192.168.33.13", "h4": "192.168.33.14"}
    assert set(peers(world, "h3")) == {"h4"}
    alone = World.of(intent(Router(name="gw", gateways=GATEWAYS, placement=("h3",))))
    assert peers(alone, "h1") == {}
    borders = World.of(
        intent(
            Router(name="r", gateways=GATEWAYS, routes=(Route(to="50.0.0.0/8", via=("10.1.1.2", "10.1.1.3")),)),
            Router(name="e", gateways={"ten": ("10.1.1.2",)}, placement=("h3",)),
            Router(name="f", gateways={"ten": ("10.1.1.3",)}, placement=("h4",)),
        )
    )
    assert set(peers(borders, "h1")) == {"h3", "h4"}
    routes = {route.to: route for route in compile_node(borders, "h1").routers["r"].routes}
    assert [hop.via for hop in routes["50.0.0.0/8"].hops] == ["10.1.1.2", "10.1.1.3"]
    for dead, left in (({"h3"}, ["10.1.1.3"]), ({"h3", "h4"}, ["10.1.1.2", "10.1.1.3"])):
        borders.dead = frozenset(dead)
        routes = {route.to: route for route in compile_node(borders, "h1").routers["r"].routes}
        assert [hop.via for hop in routes["50.0.0.0/8"].hops] == left
