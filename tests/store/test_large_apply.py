"""Applies that do not fit into one transaction: whole for readers, one at a time, finished by the next if cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from tests.store.store_places import soon
from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent
from weft.model.node import Node
from weft.store import Compare, Delete, Outcome, Put, TooLarge
from weft.store.intent import APPLYING, INDEXED, Stored, from_snapshot, read, update
from weft.store.memory import Memory, MemoryStore
from weft.store.parts import parts
from weft.store.records import Keys

KEYS = Keys()
MOST = 8


class SmallStore(MemoryStore):
    """Takes `MOST` writes a transaction, as an etcd set up so would; `before` runs before each."""

    def __init__(self, memory: Memory, before: Callable[[int], None] = lambda number: None) -> None:
        super().__init__(memory)
        self.transactions = 0
        self.before = before

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        await asyncio.sleep(0)
        if len(writes) > MOST:
            raise TooLarge("too many operations in txn request", self.url)
        self.transactions += 1
        self.before(self.transactions)
        return await super().transact(compares, writes)


def nodes(count: int, first: int = 0) -> Intent:
    names = [f"n{number}" for number in range(first, first + count)]
    return Intent(nodes={name: Node(name=name, vtep=f"10.0.0.{number}") for number, name in enumerate(names)})


def replacing(intent: Intent) -> Callable[[Stored], Intent]:
    return lambda stored: intent


def test_readers_never_see_half_of_it() -> None:
    async def test() -> None:
        memory = Memory()
        reader = MemoryStore(memory)
        await update(SmallStore(memory), KEYS, replacing(nodes(5)))
        watch = reader.watch(["/weft/"], memory.revision + 1)
        change = await update(SmallStore(memory), KEYS, replacing(nodes(300, first=3)))
        assert (len(change.put), len(change.delete)) == (300, 3)
        guards: list[bytes | None] = []
        while not guards or guards[-1] == APPLYING:
            changes = await soon(anext(watch))
            guards += [each.value for each in changes.changes if each.key == KEYS.guard]
            assert guards, "the guard goes first"
        assert guards == [APPLYING, INDEXED]
        assert changes.revision == change.revision == memory.revision, "and last"
        stored = await read(reader, KEYS)
        assert set(stored.intent.nodes) == {f"n{number}" for number in range(3, 303)}
        assert not stored.applying
        assert not memory.leases

    asyncio.run(test())


def test_two_at_once_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.store.intent._LOOK", 0.001)

    async def test() -> None:
        memory = Memory()

        def adding(intent: Intent) -> Callable[[Stored], Intent]:
            def decide(stored: Stored) -> Intent:
                assert not stored.applying
                return stored.intent.merged(intent)

            return decide

        await asyncio.gather(
            update(SmallStore(memory), KEYS, adding(nodes(200))),
            update(SmallStore(memory), KEYS, adding(nodes(200, first=200))),
            update(SmallStore(memory), KEYS, adding(nodes(1, first=900))),
        )
        assert len((await read(MemoryStore(memory), KEYS)).intent.nodes) == 401

    asyncio.run(test())


@pytest.mark.parametrize("at", [3, 10])
def test_a_writer_that_loses_its_guard_says_so_and_the_next_completes(at: int) -> None:
    async def test() -> None:
        memory = Memory()

        def lose(number: int) -> None:
            if number == at:
                for lease in list(memory.leases):
                    memory.end(lease)

        with pytest.raises(WeftError) as caught:
            await update(SmallStore(memory, lose), KEYS, replacing(nodes(200)))
        assert caught.value.kind is Kind.CONFLICT
        half = await read(MemoryStore(memory), KEYS)
        assert not half.applying
        assert len(half.intent.nodes) < 200
        await update(SmallStore(memory), KEYS, replacing(nodes(200)))
        assert len((await read(MemoryStore(memory), KEYS)).intent.nodes) == 200

    asyncio.run(test())


def test_an_apply_that_never_ends_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.store.intent._LOOK", 0.001)
    monkeypatch.setattr("weft.store.intent._PATIENCE", 0.01)

    async def test() -> None:
        store = MemoryStore()
        await store.transact([], [Put(KEYS.guard, APPLYING)])
        assert from_snapshot(await store.snapshot(), KEYS).applying
        with pytest.raises(WeftError) as caught:
            await update(store, KEYS, replacing(nodes(1)))
        assert caught.value.kind is Kind.CONFLICT

    asyncio.run(test())


def test_one_write_too_large_is_refused() -> None:
    class Tiny(MemoryStore):
        async def transact(
            self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
        ) -> Outcome:
            if any(isinstance(write, Put) and len(write.value) > 20 for write in writes):
                raise TooLarge("request is too large", self.url)
            return await super().transact(compares, writes)

    async def test() -> None:
        store = Tiny()
        with pytest.raises(TooLarge) as caught:
            await update(store, KEYS, replacing(nodes(1)))
        assert "--max-request-bytes" in str(caught.value)
        assert (await store.snapshot()).items == (), "its guard is gone as well"

    asyncio.run(test())


def test_parts_keep_the_order_and_their_size() -> None:
    writes: list[Put | Delete] = [Put(f"{number}", b"x" * 10_000 * (number % 3)) for number in range(500)]
    cut = list(parts(writes))
    assert [write for part in cut for write in part] == writes
    assert max(len(part) for part in cut) <= 100
    assert list(parts([])) == []
    assert len(list(parts([Put("a", b"x" * 2_000_000), Put("b", b"")]))) == 2
