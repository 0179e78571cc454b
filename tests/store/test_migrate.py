"""Moving a cluster between any two stores: all of it, into an empty place, and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.store.store_places import PLACES, Place
from weft.model.errors import Kind, WeftError
from weft.store import Compare, Delete, Outcome, Put, Store
from weft.store.intent import APPLYING
from weft.store.memory import Memory, MemoryStore
from weft.store.migrate import Migrated, migrate
from weft.store.parts import parts
from weft.store.records import Keys

KEYS = Keys()
ETCD = pytest.mark.system


@pytest.fixture
def places(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[list[Place]]:
    made = []
    for number, name in enumerate(request.param):
        (tmp_path / f"{number}").mkdir()
        made.append(PLACES[name](tmp_path / f"{number}"))
    yield made
    for place in made:
        place.close()


async def fill(store: Store) -> dict[str, bytes]:
    content = {f"{KEYS.endpoints}5000/{number:06x}": b"\0\xff" * number for number in range(700)}
    content |= {KEYS.guard: b"{}", f"{KEYS.intent}networks/grün": b"\x00", f"{KEYS.facts}h1": b"x" * 900_000}
    for part in parts([Put(key, value) for key, value in content.items()]):
        await store.transact([], part)
    lease = await store.grant(600)
    await store.transact([], [Put(f"{KEYS.alive}h1", b"", lease), Put("/weft/another/intent", b"not ours")])
    return content


@pytest.mark.parametrize(
    "places",
    [
        ("memory", "sqlite"), ("sqlite", "memory"), pytest.param(("sqlite", "etcd"), marks=ETCD),
        pytest.param(("etcd", "sqlite"), marks=ETCD), pytest.param(("etcd", "etcd"), marks=ETCD),
    ],
    indirect=True,
)  # fmt: skip
def test_everything_arrives(places: list[Place]) -> None:
    async def test() -> None:
        source, target = (place.open() for place in places)
        content = await fill(source)
        done = await migrate(source, target, KEYS)
        snapshot = await target.snapshot()
        assert {item.key: item.value for item in snapshot.items} == content
        assert done == Migrated(len(content), 1, (await source.snapshot()).revision, snapshot.revision, ("h1",))
        with pytest.raises(WeftError) as caught:
            await migrate(source, target, KEYS)
        assert caught.value.kind is Kind.REFUSED
        await source.close()
        await target.close()

    asyncio.run(test())


def test_there_must_be_something_to_move() -> None:
    async def test() -> None:
        source, target = MemoryStore(), MemoryStore()
        await source.transact([], [Put("/weft/other/intent", b"")])
        with pytest.raises(WeftError) as caught:
            await migrate(source, target, KEYS)
        assert caught.value.kind is Kind.NOT_FOUND

    asyncio.run(test())


class Meddled(MemoryStore):
    """Whenever something is written here, `meddle` is written to `victim`."""

    victim: MemoryStore
    meddle = Put(f"{KEYS.intent}nodes/x", b"meddled")

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        outcome = await super().transact(compares, writes)
        await self.victim.transact([], [self.meddle])
        return outcome


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_store_that_changes_meanwhile_is_noticed(which: str) -> None:
    async def test() -> None:
        memory = Memory()
        source, target = MemoryStore(), Meddled(memory)
        target.victim = source if which == "source" else MemoryStore(memory)
        await source.transact([], [Put(KEYS.guard, b"{}"), Put(f"{KEYS.intent}nodes/x", b"as it was")])
        with pytest.raises(WeftError) as caught:
            await migrate(source, target, KEYS)
        assert caught.value.kind is Kind.CONFLICT

    asyncio.run(test())


def test_nothing_of_the_source_is_written_over() -> None:
    async def test() -> None:
        source, target = MemoryStore(), MemoryStore()
        await fill(source)
        await target.transact([], [Put(f"{KEYS.facts}h9", b"here first")])
        with pytest.raises(WeftError) as caught:
            await migrate(source, target, KEYS)
        assert f"{KEYS.facts}h9" in str(caught.value)
        assert len((await target.snapshot()).items) == 1

    asyncio.run(test())


class Full(MemoryStore):
    """Takes so many puts and no more; meanwhile somebody writes something else under the first key."""

    room = 2

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Outcome:
        if isinstance(writes[0], Delete):
            return await super().transact(compares, writes)
        self.room -= 1
        if self.room < 0:
            raise WeftError(Kind.FAILED, "no space left", where=self.url)
        outcome = await super().transact(compares, writes)
        if not self.room:
            await super().transact([], [Put(f"{KEYS.endpoints}5000/{0:06x}", b"another's")])
        return outcome


def test_a_copy_that_fails_is_taken_back() -> None:
    """Not what others have written since."""

    async def test() -> None:
        source, target = MemoryStore(), Full()
        await fill(source)
        told: list[tuple[int, int]] = []
        with pytest.raises(WeftError, match="no space left"):
            await migrate(source, target, KEYS, lambda written, of: told.append((written, of)))
        assert told == [(100, 703), (200, 703)]
        assert [item.value for item in (await target.snapshot()).items] == [b"another's"]

    asyncio.run(test())


def test_an_apply_that_is_being_written_is_waited_for() -> None:
    async def test() -> None:
        source, target = MemoryStore(), MemoryStore()
        lease = await source.grant(600)
        await source.transact([], [Put(KEYS.guard, APPLYING, lease), Put(f"{KEYS.intent}nodes/x", b"")])
        with pytest.raises(WeftError, match="an apply is being written"):
            await migrate(source, target, KEYS)
        assert not (await target.snapshot()).items

    asyncio.run(test())
