"""Stores with no index of attached networks, or a wrong one: everything is followed until an apply makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.agent.test_interest import Followed
from tests.agent.waiting import eventually
from tests.fleet import intent, network, port
from weft.model.intent import Intent
from weft.store import Delete, Put, Store, open_store
from weft.store.intent import INDEXED, change, read, update
from weft.store.records import Attached, Keys, decode, encode

KEYS = Keys()
NETWORKS = [network("blue", 5000), network("green", 6000)]
PORTS = [port("a", "blue", "h1", 1), port("b", "green", "h2", 2), port("c", "green", "h3", 3)]
FLEET = intent(NETWORKS, PORTS)


async def older_apply(store: Store, wanted: Intent) -> None:
    """As a weft without the index stores it."""
    before = (await read(store, KEYS)).intent
    wanted_change = change(before, wanted)
    writes = [*(Put(KEYS.of(each), encode(each)) for each in wanted_change.put)]
    gone = [Delete(KEYS.of(each)) for each in wanted_change.delete]
    await store.transact([], [Put(KEYS.guard, b"{}"), *writes, *gone])


def following(url: str, main: Callable[[Store, Followed], Awaitable[None]]) -> None:
    """With h1 following the store."""

    async def work() -> None:
        store = open_store(url)
        followed = Followed(store, "h1")
        task = asyncio.create_task(followed.follower.run())
        try:
            await main(store, followed)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.close()

    asyncio.run(work())


def holds(followed: Followed) -> set[str]:
    """The networks whose ports it knows."""
    return {name for name, ports in followed.feed.world.ports.items() if ports}


def test_a_sqlite_file_of_before_is_followed_whole_and_narrowed_by_the_next_apply(tmp_path: Path) -> None:
    async def main(store: Store, followed: Followed) -> None:
        await older_apply(store, FLEET)
        assert await eventually(lambda: holds(followed) == {"blue", "green"})
        assert followed.follower.networks is None
        await older_apply(store, Intent(FLEET.nodes, FLEET.networks, {}, {"a": PORTS[0], "b": PORTS[1]}))
        assert await eventually(lambda: len(followed.feed.world.ports["green"]) == 1)
        assert not await update(store, KEYS, lambda stored: stored.intent), "the same intent"
        stored = await read(store, KEYS)
        assert stored.indexed
        assert stored.intent.ports.keys() == {"a", "b"}, "nothing is lost"
        assert set(stored.attached) == {"h1", "h2"}
        assert await eventually(lambda: followed.follower.networks == {"blue"} and holds(followed) == {"blue"})

    following(f"sqlite://{tmp_path}/weft.db", main)


def test_an_older_weft_that_applies_later_is_followed_too() -> None:
    async def main(store: Store, followed: Followed) -> None:
        await update(store, KEYS, lambda _: FLEET)
        assert await eventually(lambda: followed.follower.networks == {"blue"} and holds(followed) == {"blue"})
        more = port("d", "green", "h1", 4)
        await older_apply(store, Intent(FLEET.nodes, FLEET.networks, {}, FLEET.ports | {"d": more}))
        assert await eventually(lambda: holds(followed) == {"blue", "green"})
        assert "d" in followed.plan.ports
        await update(store, KEYS, lambda stored: stored.intent)
        assert await eventually(lambda: followed.follower.networks == {"blue", "green"})
        assert "d" in followed.plan.ports

    following("memory:", main)


@pytest.mark.parametrize("value", [b"", b"[]", b'{"networks": 3}'])
def test_a_broken_index_means_everything_and_an_apply_mends_it(value: bytes) -> None:
    async def main(store: Store, followed: Followed) -> None:
        await update(store, KEYS, lambda _: FLEET)
        assert await eventually(lambda: holds(followed) == {"blue"})
        await store.transact([], [Put(f"{KEYS.attached}h1", value)])
        assert await eventually(lambda: holds(followed) == {"blue", "green"})
        await update(store, KEYS, lambda stored: stored.intent)
        assert await eventually(lambda: holds(followed) == {"blue"})

    following("memory:", main)


def test_a_network_with_a_broken_port_keeps_its_nodes() -> None:
    """It is held as it is; its nodes must go on knowing of it."""

    async def main(store: Store, followed: Followed) -> None:
        await update(store, KEYS, lambda _: FLEET)
        await store.transact([], [Put(KEYS.of(PORTS[0]), b"broken")])
        await update(store, KEYS, lambda stored: stored.intent.merged(intent([], [port("e", "green", "h2", 5)])))
        stored = await read(store, KEYS)
        assert decode("", stored.attached["h1"], Attached).networks == ("blue",)
        assert followed.follower.networks in (None, {"blue"})
        assert await eventually(lambda: KEYS.of(PORTS[0]) in followed.feed.broken)

    following("memory:", main)


def test_the_index_follows_ports_and_nothing_is_written_where_it_is_right() -> None:
    async def main(store: Store, followed: Followed) -> None:
        await update(store, KEYS, lambda _: FLEET)
        moved = Intent(FLEET.nodes, FLEET.networks, {}, FLEET.ports | {"a": port("a", "green", "h3", 1)})
        await update(store, KEYS, lambda _: moved)
        stored = await read(store, KEYS)
        networks = {node: decode(node, value, Attached).networks for node, value in stored.attached.items()}
        assert networks == {"h2": ("green",), "h3": ("green",)}
        before = (await store.snapshot()).revision
        await update(store, KEYS, lambda stored: stored.intent)
        assert (await store.snapshot()).revision == before
        items = {item.key: item.value for item in (await store.snapshot()).items}
        assert items[KEYS.guard] == INDEXED

    following("memory:", main)


def test_an_empty_store_stays_one_that_nothing_was_applied_to() -> None:
    async def main(store: Store, followed: Followed) -> None:
        await update(store, KEYS, lambda stored: stored.intent)
        assert (await store.snapshot()).items == ()
        assert await eventually(lambda: followed.feed.loaded)
        assert not followed.feed.applied

    following("memory:", main)
