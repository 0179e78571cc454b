"""An agent that follows its own networks only plans what one that follows everything plans."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet import network, nodes, port
from weft.agent.feed import Feed
from weft.agent.follow import Follower
from weft.agent.hold import held
from weft.compile.node import compile_node, recompile
from weft.compile.peers import peers
from weft.model.endpoint import Endpoint
from weft.model.intent import Intent
from weft.model.network import Network
from weft.model.port import Attach, AttachKind, Port
from weft.model.router import External, Route, Router
from weft.model.validate import problems
from weft.plan.node import NodePlan
from weft.store import Delete, Put, Snapshot, Store
from weft.store.intent import update
from weft.store.memory import Memory, MemoryStore
from weft.store.records import Keys, encode
from weft.store.store import Prefix

KEYS = Keys()
NODES = nodes(4)
NAMES = ("n0", "n1", "n2", "n3", "n4")


def _network(number: int, vni: int) -> Network:
    return network(f"n{number}", vni, subnets=(f"10.1.{number}.0/24",))


def _router(name: str, kind: str, networks: list[int], node: str, host: int) -> Router:
    gateways = {f"n{number}": (f"10.1.{number}.{host}",) for number in networks}
    via = f"10.1.{networks[0]}.9"
    match kind:
        case "asymmetric":
            return Router(name=name, gateways=gateways)
        case "symmetric":
            return Router(name=name, gateways=gateways, vni=9000 + host)
        case "next hop":
            return Router(name=name, gateways=gateways, vni=9000 + host, routes=(Route(to="0.0.0.0/0", via=(via,)),))
    side = External(node=node, interface=f"eth{host}", address=f"50.1.{host}.1/24")
    placement = (node, next(other for other in NODES if other != node))
    return Router(name=name, gateways=gateways, placement=placement, external=(side,))


def _port(number: int, of: int, node: int) -> Port:
    base = port(f"p{number}", f"n{of}", f"h{node}", 1 + number)
    fields = {field: getattr(base, field) for field in base.__struct_fields__}
    attach = Attach(kind=AttachKind.TAP, target=f"t{number}")
    return Port(**fields | {"ips": (f"10.1.{of}.{1 + number}",), "attach": attach})


kinds = st.sampled_from(["asymmetric", "symmetric", "next hop", "placed"])
routers = st.lists(
    st.tuples(kinds, st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True), st.integers(1, 4)), max_size=3
)
ports = st.dictionaries(st.integers(0, 11), st.tuples(st.integers(0, 4), st.integers(1, 4)), max_size=10)
vnis = st.lists(st.integers(5000, 5009), min_size=5, max_size=5, unique=True)


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    """Networks, routers and ports that are valid; where routers do not go together the later ones are left out."""
    networks = {f"n{number}": _network(number, vni) for number, vni in enumerate(draw(vnis))}
    of = {f"p{number}": _port(number, *place) for number, place in draw(ports).items()}
    found = Intent(NODES, networks, {}, of)
    for number, (kind, joined, node) in enumerate(draw(routers)):
        more = _router(f"r{number}", kind, joined, f"h{node}", 250 + number)
        tried = Intent(NODES, networks, found.routers | {more.name: more}, of)
        found = found if problems(tried) else tried
    assert not problems(found)
    return found


sightings = st.dictionaries(
    st.tuples(st.integers(5000, 5009), st.integers(0, 20), st.integers(1, 4)), st.booleans(), max_size=6
)
steps = st.lists(st.tuples(intents(), sightings), min_size=1, max_size=5)


def _sighting(vni: int, number: int, node: int) -> Endpoint:
    mac = f"02:00:00:00:00:{number:02x}"
    return Endpoint(key=network("x", vni).key, mac=mac, node=f"h{node}", ips=(f"10.1.{number % 5}.{100 + number}",))


async def write(store: Store, wanted: Intent, seen: dict[tuple[int, int, int], bool]) -> None:
    """One step, the sightings first."""
    records = {_sighting(*place): there for place, there in seen.items()}
    writes = [
        Put(KEYS.endpoint(each), encode(each)) if there else Delete(KEYS.endpoint(each))
        for each, there in records.items()
    ]
    await store.transact([], writes)
    await update(store, KEYS, lambda _: wanted)


class Busy(MemoryStore):
    """Something is written before and after each snapshot that is read, as long as there is something to write."""

    def __init__(self, memory: Memory, waiting: list[Any]) -> None:
        super().__init__(memory)
        self.plain, self.waiting = MemoryStore(memory), waiting

    async def snapshot(self, prefixes: Sequence[Prefix] = ("",)) -> Snapshot:
        await self.write()
        found = await super().snapshot(prefixes)
        await self.write()
        return found

    async def write(self) -> None:
        if self.waiting:
            await write(self.plain, *self.waiting.pop(0))


class Followed:
    """One node's feed and plan, kept as the agent keeps them: what is dirty is compiled anew, unless it is held."""

    def __init__(self, store: Store, node: str) -> None:
        self.node = node
        self.feed = Feed(KEYS)
        self.plan = NodePlan(node)
        self.troubles: list[Exception] = []
        self.follower = Follower(
            store, self.feed, node, loaded=self.compile, taken=self.compile, trouble=self.troubles.append
        )

    def compile(self) -> None:
        kept = held(self.feed.world, self.feed.broken, KEYS, self.node)
        dirty = self.feed.taken()
        self.feed.dirty(dirty & kept.networks.keys())
        self.plan = recompile(self.plan, self.feed.world, dirty, kept.networks.keys(), kept.routers.keys())

    def right(self, everything: Feed) -> bool:
        """Whether it plans what follows from everything, and holds no more than its interest."""
        world, mine = everything.world, self.follower.networks
        assert self.troubles == []
        if not self.feed.loaded or mine is None:
            return False
        segments = {self.feed.world.networks[name].key for name in mine if name in self.feed.world.networks}
        return (
            self.plan == compile_node(world, self.node)
            and self.plan == compile_node(self.feed.world, self.node)
            and peers(self.feed.world, self.node) == peers(world, self.node)
            and {name for name, of in self.feed.world.ports.items() if of} <= mine
            and {key for key, of in self.feed.world.seen.items() if of} <= segments
            and held(self.feed.world, self.feed.broken, KEYS, self.node).told() == []
        )


async def astray(store: Store, followed: Sequence[Followed]) -> list[tuple[str, NodePlan, NodePlan]]:
    """Nodes that do not come to plan what follows from everything: with what they plan, and what they should."""
    everything = Feed(KEYS)
    everything.load(await store.snapshot(everything.prefixes))
    for _ in range(400):
        if all(each.right(everything) for each in followed):
            return []
        await asyncio.sleep(0)
    wrong = [each for each in followed if not each.right(everything)]
    return [(each.node, each.plan, compile_node(everything.world, each.node)) for each in wrong]


async def follow(store: Store, plain: Store, later: list[Any]) -> list[tuple[str, NodePlan, NodePlan]]:
    """Nodes that go astray at the first step where one does."""
    followed = [Followed(store, node) for node in NODES]
    tasks = [asyncio.create_task(each.follower.run()) for each in followed]
    try:
        wrong = await astray(plain, followed)
        for step in later:
            if wrong:
                break
            await write(plain, *step)
            wrong = await astray(plain, followed)
        return wrong
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.thorough
@settings(max_examples=40, deadline=None)
@given(steps)
def test_every_node_plans_the_same_from_its_interest_as_from_everything(steps: list[Any]) -> None:
    async def main() -> None:
        store = MemoryStore(Memory())
        await write(store, *steps[0])
        assert await follow(store, store, steps[1:]) == []

    asyncio.run(main())


@pytest.mark.thorough
@settings(max_examples=40, deadline=None)
@given(steps, steps)
def test_nothing_is_missed_between_a_snapshot_and_its_watch(first: list[Any], during: list[Any]) -> None:
    async def main() -> None:
        memory, waiting = Memory(), list(during)
        plain = MemoryStore(memory)
        await write(plain, *first[0])
        busy = Busy(memory, waiting)
        followed = [Followed(busy, node) for node in NODES]
        tasks = [asyncio.create_task(each.follower.run()) for each in followed]
        for step in first[1:]:
            await asyncio.sleep(0)
            await write(plain, *step)
        while waiting:
            await busy.write()
        assert await astray(plain, followed) == []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
