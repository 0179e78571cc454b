"""Interest on every store: the first port of a network brings its ports and endpoints, the last one gone takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.fleet import intent, network, port
from tests.store.store_places import Place, opened, soon
from weft.agent.feed import Feed
from weft.agent.follow import Follower
from weft.compile.node import compile_node
from weft.model.endpoint import Endpoint
from weft.model.intent import Intent
from weft.model.router import Router
from weft.store import Put, Store
from weft.store.intent import update
from weft.store.records import Keys, encode

KEYS = Keys()
GREEN = network("green", 6000, subnets=("10.1.2.0/24",))
NETWORKS = [network("blue", 5000), GREEN, network("far", 7000)]
MAC = "02:00:00:00:00:99"
SEEN = Endpoint(key=GREEN.key, mac=MAC, node="h2", ips=("10.1.2.99",))
FLEET = intent(
    NETWORKS,
    [
        port("a", "blue", "h1", 1),
        port("g", "green", "h2", 2),
        port("f", "far", "h3", 3),
    ],
)


class Node:
    """h1, following a store; `told`: rings when it has taken something."""

    def __init__(self, store: Store) -> None:
        self.feed = Feed(KEYS)
        self.told = asyncio.Event()
        self.errors: list[Exception] = []
        self.follower = Follower(
            store, self.feed, "h1", loaded=self.told.set, taken=self.told.set, trouble=self.errors.append
        )

    async def until(self, true: Callable[[], object]) -> None:
        while not true():
            self.told.clear()
            await soon(self.told.wait())

    def networks(self) -> set[str]:
        return {name for name, ports in self.feed.world.ports.items() if ports}


async def _with(store: Store, *ports: object, **routers: Router) -> None:
    of = {each.name: each for each in (*FLEET.ports.values(), *ports)}  # type: ignore[attr-defined]
    await update(store, KEYS, lambda _: Intent(FLEET.nodes, FLEET.networks, routers, of))


def test_a_network_is_followed_from_its_first_port_to_its_last(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as store, opened(place) as reader:
            await _with(store)
            await store.transact([], [Put(KEYS.endpoint(SEEN), encode(SEEN))])
            node = Node(reader)
            task = asyncio.create_task(node.follower.run())
            try:
                await node.until(lambda: node.feed.loaded)
                assert node.networks() == {"blue"}
                assert node.feed.world.seen == {}
                before = node.follower.octets["watch"]
                await _with(store, port("x", "far", "h3", 9))
                await _with(store, port("b", "green", "h1", 4))
                await node.until(lambda: node.networks() == {"blue", "green"})
                assert node.feed.world.seen[GREEN.key][MAC]["h2"] == SEEN
                assert "h3" not in str(node.feed.world.ports), "what is none of its business is not known"
                assert node.follower.octets["watch"] - before < 2000
                plan = compile_node(node.feed.world, "h1")
                assert {segment.network for segment in plan.segments.values()} == {"blue", "green"}
                again = Endpoint(key=GREEN.key, mac=MAC, node="h2", ips=("10.1.2.98",), sequence=1)
                await store.transact([], [Put(KEYS.endpoint(again), encode(again))])
                await node.until(lambda: node.feed.world.seen[GREEN.key][MAC]["h2"] == again)
                await _with(store)
                await node.until(lambda: node.networks() == {"blue"})
                assert not any(node.feed.world.seen.values())
                await _with(store, r=Router(name="r", gateways={"blue": ("10.1.1.254",), "green": ("10.1.2.254",)}))
                await node.until(lambda: node.networks() == {"blue", "green"})
                await _with(store)
                await node.until(lambda: node.networks() == {"blue"})
                assert node.errors == []
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
