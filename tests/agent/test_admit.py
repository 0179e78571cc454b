"""A port that is taken by itself ends where validating and compiling everything ends, whatever came before it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.fleet import network, nodes
from weft.agent import admit
from weft.agent.agent import Agent
from weft.agent.feed import Feed
from weft.agent.hold import held
from weft.compile.node import compile_node
from weft.l2.fake import FakeDatapath
from weft.model.endpoint import Endpoint
from weft.model.network import Arp, Learning
from weft.model.port import Attach, AttachKind, Hosts, Port
from weft.model.router import Router
from weft.store import Delete, Put, open_store
from weft.store.records import Keys, encode

KEYS = Keys()
NETWORKS = [
    network("blue", 5000),
    network("green", 6000, arp=Arp.FLOOD),
    network("red", 7000, learning=Learning.DATA_PLANE),
]
ROUTER = Router(name="r", gateways={"green": ("10.1.1.254",)})
PLACES = [Attach(kind=AttachKind.TAP, target=f"t{n}") for n in range(4)] + [Attach(kind=AttachKind.HOST)]

ports = st.builds(
    Port,
    name=st.sampled_from(["a", "b", "c", "d"]),
    network=st.sampled_from(["blue", "blue", "blue", "green", "red", "none"]),
    node=st.sampled_from(["h1", "h2", "h2", "h3", "h3", "h4"]),
    attach=st.sampled_from(PLACES),
    mac=st.sampled_from(
        ["02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:0a", "02:00:00:00:00:0A", "01:00:00:00:00:01", ""]
    ),
    ips=st.lists(
        st.sampled_from(["10.1.1.1", "10.1.1.2", "10.1.1.3", "10.9.9.9", "10.1.1.254", "x"]), max_size=2, unique=True
    ).map(tuple),
    mobile=st.booleans(),
    hosts=st.sampled_from([Hosts.DECLARED, Hosts.DECLARED, Hosts.LEARNED]),
).map(lambda port: replace(port, name=f"{port.name}-{port.network}"))
good = st.builds(
    lambda number, node, ip: Port(
        name=f"p{number}",
        network="blue",
        node=node,
        attach=Attach(kind=AttachKind.TAP, target=f"p{number}"),
        mac=f"02:00:00:00:01:{number:02x}",
        ips=(f"10.1.1.{100 + ip}",),
    ),
    st.integers(0, 7),
    st.sampled_from(["h2", "h3"]),
    st.integers(0, 15),
)
seen = st.builds(
    Endpoint,
    key=st.just(NETWORKS[0].key),
    mac=st.sampled_from(["02:00:00:00:00:01", "02:00:00:00:01:01", "02:00:00:00:0f:01"]),
    node=st.sampled_from(["h1", "h2", "h3"]),
    ips=st.sampled_from([(), ("10.1.1.1",), ("10.1.1.101",), ("10.1.1.50", "10.1.1.1")]),
    sequence=st.integers(0, 2),
)
things = st.one_of(good, good, good, ports, st.sampled_from([*NETWORKS, ROUTER]), seen)
change = st.tuples(things, st.sampled_from([True, True, True, False]))
history = st.lists(st.lists(change, min_size=1, max_size=3), max_size=25)
MEMBERS = [
    Port(name=f"m{n}", network=of, node=f"h{n}", attach=Attach(kind=AttachKind.TAP, target=f"m{of}"))
    for n in range(1, 4)
    for of in ("blue", "green")
]


def test_two_ports_of_one_name_hold_both_their_networks() -> None:
    """Of objects with one name only one would be judged."""

    async def main() -> None:
        store, datapath = open_store("memory:"), FakeDatapath()
        attach = Attach(kind=AttachKind.TAP, target="t")
        mine = Port(name="x", network="blue", node="h1", attach=attach, mac="02:00:00:00:00:77", ips=("bad",))
        twins = [mine, replace(mine, network="green", ips=("10.1.1.9",))]
        first = [*nodes(3).values(), *NETWORKS[:2], *_members(), *twins]
        await store.transact([], [Put(KEYS.guard, b"{}"), *(Put(_key(each), encode(each)) for each in first)])
        agent = Agent(store, "h1", datapath)
        agent.feed.load(await store.snapshot(agent.feed.prefixes))
        agent.reconcile()
        assert set(agent._held().networks) == {"blue", "green"}
        assert any("stands in 2 networks" in error for error in agent.status.errors)

    asyncio.run(main())


def _key(thing: Any) -> str:
    return KEYS.endpoint(thing) if isinstance(thing, Endpoint) else KEYS.of(thing)


def _members() -> list[Port]:
    """A sound start: each of three nodes has a port of its own in two networks."""
    found = []
    for number, each in enumerate(MEMBERS):
        mac, ips = f"02:00:00:00:ff:{number:02x}", (f"10.1.1.{200 + number}",)
        found.append(replace(each, name=f"{each.name}-{each.network}", mac=mac, ips=ips))
    return found


@pytest.mark.system
@settings(max_examples=150, deadline=None)
@given(history)
def test_ports_one_by_one_end_where_everything_at_once_ends(history: list[list[tuple[Any, bool]]]) -> None:
    async def main() -> None:
        store, datapath = open_store("memory:"), FakeDatapath()
        first = [*nodes(3).values(), *NETWORKS[:2], *_members()]
        await store.transact([], [Put(KEYS.guard, b"{}"), *(Put(_key(each), encode(each)) for each in first)])
        agent = Agent(store, "h1", datapath)
        agent.feed.load(await store.snapshot(agent.feed.prefixes))
        agent.reconcile()
        watch = store.watch(agent.feed.prefixes, agent.feed.revision + 1)
        for step in history:
            writes = {_key(each): Put(_key(each), encode(each)) if put else Delete(_key(each)) for each, put in step}
            outcome = await store.transact([], [*writes.values()])
            if outcome.revision > agent.feed.revision:
                agent.feed.take(await anext(watch))
            agent.reconcile()
            agent.feed.echoes.clear()
        fresh = Feed(KEYS)
        fresh.load(await store.snapshot(fresh.prefixes))
        for each in [*fresh.world.endpoints()]:  # what h1 says of itself it knows better than the store
            if each.node == "h1":
                fresh.world.forget(each.key, each.mac, each.node)
        for each in agent.feed.world.endpoints():
            if each.node == "h1":
                fresh.world.see(each)
        fresh.world.facts["h1"] = datapath.facts("h1", "192.168.33.11")
        judged = held(fresh.world, fresh.broken, KEYS, "h1")
        # Of two that clash the later one is blamed, and what is held stays as it was: both depend on what came before.
        assert agent._held().sound == judged.sound
        if not judged.sound:
            return
        plan = compile_node(fresh.world, "h1")
        assert agent.plan == plan
        assert (datapath.segments, datapath.tables, datapath.ports) == (plan.segments, plan.tables, plan.ports)

    asyncio.run(main())


def test_a_port_elsewhere_costs_its_rows_and_no_judging() -> None:
    """The way is really taken: neither a compile of the network nor a validation of everything."""

    async def main() -> None:
        store, datapath = open_store("memory:"), FakeDatapath()
        first = [*nodes(3).values(), *NETWORKS[:1], *(each for each in _members() if each.network == "blue")]
        await store.transact([], [Put(KEYS.guard, b"{}"), *(Put(_key(each), encode(each)) for each in first)])
        agent = Agent(store, "h1", datapath)
        agent.feed.load(await store.snapshot(agent.feed.prefixes))
        agent.reconcile()
        version, operations = agent.feed.version, len(datapath.log)
        watch = store.watch(agent.feed.prefixes, agent.feed.revision + 1)
        attach = Attach(kind=AttachKind.TAP, target="t")
        more = Port(name="x", network="blue", node="h2", attach=attach, mac="02:00:00:00:00:77", ips=("10.1.1.77",))
        for writes in ([Put(_key(more), encode(more))], [Delete(_key(more))]):
            await store.transact([], writes)
            agent.feed.take(await anext(watch))
            assert agent.feed.settled
            agent.reconcile()
        assert agent.feed.version == version
        assert len(datapath.log) == operations + 4, "a row in each of two tables, put and dropped"
        assert agent.status.revision == agent.feed.revision
        twin = replace(more, name="y", ips=("10.1.1.78",), attach=Attach(kind=AttachKind.TAP, target="u"))
        world = agent.feed.world
        assert admit.fits(world, "h1", None, twin)
        assert admit.fits(world, "h1", None, replace(twin, node="h1"))
        world.facts["h1"] = replace(world.facts["h1"], missing={"tap": "load tun"})
        assert not admit.fits(world, "h1", None, replace(twin, node="h1")), "the host cannot carry it"
        assert not admit.fits(world, "h1", None, replace(twin, node="h4")), "a new member"
        assert not admit.fits(world, "h1", None, replace(twin, attach=Attach(kind=AttachKind.TAP, target="mblue")))

    asyncio.run(main())
