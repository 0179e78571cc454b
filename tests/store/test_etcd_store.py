"""What only etcd has: pages, prefixes of its own, applies in parts, members that are not asked first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.store.etcd_server import Member, free_port, started
from tests.store.store_places import PATIENCE, soon, take
from tests.store.test_conformance import keys, put
from tests.store.test_large_apply import KEYS, nodes, replacing
from weft.store import Compacted, Put, TooLarge, open_store
from weft.store.etcd import EtcdStore
from weft.store.etcd.address import Address
from weft.store.intent import APPLYING, read, update

pytestmark = pytest.mark.system


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Member]:
    member = started(tmp_path)
    yield member
    member.stop()


def test_a_snapshot_in_pages_is_of_one_revision(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both halves of each transaction, or none, however many pages lie between."""
    monkeypatch.setattr("weft.store.etcd.store._PAGE", 7)

    async def test() -> None:
        store, writer = open_store(member.url), open_store(member.url)

        async def write() -> None:
            for number in range(300):
                await put(writer, f"a/{number:03}", f"z/{number:03}")

        writing = asyncio.create_task(write())
        sizes = set()
        while not writing.done():
            found = (await store.snapshot(["z/", "a/"])).items
            assert [item.key[2:] for item in found if item.key < "b"] == [
                item.key[2:] for item in found if item.key > "b"
            ]
            sizes.add(len(found))
        assert len(sizes) > 1
        assert len(await keys(store, "")) == 600
        await writing
        await store.close()
        await writer.close()

    asyncio.run(test())


def test_ranges_are_read_together(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.store.etcd.store._PAGE", 3)

    async def test() -> None:
        store = EtcdStore(Address((member.endpoint,)))
        call, asked = store._client.call, list[str]()

        async def counted(path: str, *rest: Any, **more: Any) -> Any:
            asked.append(path)
            return await call(path, *rest, **more)

        for first in range(0, 120, 60):
            await put(store, *(f"{number:03}/{more}" for number in range(first, first + 60, 3) for more in "abcd"))
        monkeypatch.setattr(store._client, "call", counted)
        assert await keys(store, "000/", "003/") == [f"{number}/{more}" for number in ("000", "003") for more in "abcd"]
        assert asked == ["kv/txn"] * 2  # a second page of both
        asked.clear()
        prefixes = [f"{number:03}/" for number in range(120)]
        assert len(await keys(store, *prefixes)) == 160
        assert len(asked) == (120 + 40) / 16  # a page of each, and another of those that have more
        asked.clear()
        assert await keys(store, "006/a") == ["006/a"]
        assert asked == ["kv/range"]
        await store.close()

    asyncio.run(test())


def test_a_snapshot_that_compaction_overtakes_starts_over(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.store.etcd.store._PAGE", 50)

    async def test() -> None:
        store, writer = open_store(member.url), open_store(member.url)
        await put(store, *(f"k/{number:03}" for number in range(100)))

        async def compacting() -> None:
            for _ in range(20):
                await writer.compact(await put(writer, "other"))

        compaction = asyncio.create_task(compacting())
        for number in range(10):
            assert len(await keys(store, "k/", *["o"][: number % 2])) == 100 + number % 2
        await compaction
        await store.close()
        await writer.close()

    asyncio.run(test())


def test_a_prefix_of_its_own(member: Member) -> None:
    async def test() -> None:
        whole, inside = open_store(member.url), open_store(f"{member.url}?prefix=/team/")
        revision = await put(inside, "k/1", "ü")
        await put(whole, "/teams", "k/2")
        assert await keys(inside, "") == ["k/1", "ü"]
        assert await keys(whole, "") == ["/team/k/1", "/team/ü", "/teams", "k/2"]
        (changes,) = await take(inside.watch([""], revision), 1)
        assert [change.key for change in changes.changes] == ["k/1", "ü"]
        await whole.close()
        await inside.close()

    asyncio.run(test())


def test_an_apply_larger_than_a_transaction(member: Member) -> None:
    async def test() -> None:
        store = open_store(member.url)
        with pytest.raises(TooLarge) as caught:
            await store.transact([], [Put(f"{number}", b"") for number in range(129)])
        assert "--max-txn-ops" in str(caught.value)
        with pytest.raises(TooLarge):
            await store.transact([], [Put("a", b"x" * 2_000_000)])
        with pytest.raises(TooLarge):
            await store.transact([], [Put("a", b"x" * 20_000_000)])
        assert await keys(store) == []
        watch = store.watch([KEYS.guard], 2)
        change = await update(store, KEYS, replacing(nodes(1000)))
        first = (await take(watch, 1))[0]
        assert [each.value for each in first.changes] == [APPLYING]
        stored = await read(store, KEYS)
        assert len(stored.intent.nodes) == 1000
        assert (stored.guard, stored.applying) == (change.revision, False)
        assert all(item.lease == 0 for item in (await store.snapshot()).items)
        await store.close()

    asyncio.run(test())


def test_an_address_where_nobody_listens_does_no_harm(member: Member) -> None:
    async def test() -> None:
        for _ in range(4):  # whichever is asked first
            store = EtcdStore(Address((f"127.0.0.1:{free_port()}", member.endpoint)))
            revision = await put(store, "k")
            assert [changes.revision for changes in await take(store.watch(["k"], revision), 1)] == [revision]
            assert store.endpoint == member.endpoint
            await store.close()

    asyncio.run(test())


def test_another_cluster_at_the_address_makes_watches_start_over(tmp_path: Path) -> None:
    """The same port, nothing of the old: not even its revision is lower."""
    old = started(tmp_path, name="old")
    new = Member(tmp_path, "new", port=old.port)

    async def test() -> None:
        store = EtcdStore(Address((old.endpoint,)), patience=PATIENCE)
        watch = store.watch(["k/"], 2)
        await put(store, "k/1")
        await take(watch, 1)
        old.stop()
        new.start()
        new.wait_ready()
        for number in range(9):
            new.etcdctl("put", f"k/{number}", "of another")
        for _ in range(2):
            with pytest.raises(Compacted):
                await soon(anext(watch))
        assert len(await keys(store, "k/")) == 9
        await store.close()

    try:
        asyncio.run(test())
    finally:
        old.stop()
        new.stop()
