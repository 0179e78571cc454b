"""Agents that share a process and a store: one watch reads for all, and what they report is written together."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.store_places import PATIENCE, soon, take
from weft.model.errors import Kind, WeftError
from weft.store import Changes, Compacted, Compare, Delete, Exactly, Outcome, Prefix, Put, Store, TooLarge
from weft.store.memory import Memory, MemoryStore
from weft.store.mux import MuxStore


class Counted(MemoryStore):
    """Counts its watches and transactions; a watch raises what `troubles` hold, before it goes on."""

    def __init__(self, memory: Memory | None = None) -> None:
        super().__init__(memory)
        self.watches: list[frozenset[Prefix]] = []
        self.transactions: list[int] = []
        self.troubles: list[WeftError] = []
        self.most = 128

    def watch(self, prefixes: Sequence[Prefix], revision: int) -> AsyncIterator[Changes]:  # type: ignore[override]
        self.watches.append(frozenset(prefixes))
        return _Troubled(self, super().watch(prefixes, revision))

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        if len(writes) > self.most:
            raise TooLarge("too many operations", self.url)
        self.transactions.append(len(writes))
        return await super().transact(compares, writes, durable=durable)

    def fail(self, error: WeftError) -> None:
        self.troubles.append(error)
        self._bell.ring()


class _Troubled(AsyncIterator[Changes]):
    def __init__(self, store: Counted, watch: AsyncIterator[Changes]) -> None:
        self._store, self._watch = store, watch
        self._wait: asyncio.Task[Changes] | None = None

    async def __anext__(self) -> Changes:
        while True:
            if self._store.troubles:
                raise self._store.troubles.pop()
            self._wait = self._wait or asyncio.ensure_future(anext(self._watch))
            await asyncio.wait({self._wait}, timeout=0.01)
            if self._wait.done():  # or the store is closed
                done, self._wait = self._wait, None
                return done.result()


def keys(told: Sequence[Changes]) -> list[list[str]]:
    return [[change.key for change in changes.changes] for changes in told]


def run(work: Coroutine[object, object, None]) -> None:
    asyncio.run(work)


async def put(store: Store, *names: str) -> int:
    return (await store.transact([], [Put(name, b"") for name in names])).revision


async def waiting(*watches: AsyncIterator[Changes]) -> list[asyncio.Future[Changes]]:
    """The next of each, asked for."""
    found = [asyncio.ensure_future(anext(watch)) for watch in watches]
    await asyncio.sleep(0.05)
    return found


def test_watches_are_one_and_each_gets_its_own() -> None:
    async def work() -> None:
        below = Counted()
        store = MuxStore(below)
        one, two, all_ = store.watch(["a/"], 2), store.watch([Exactly("b")], 2), store.watch([""], 2)
        told = await waiting(one, two, all_)
        await put(store, "a/1", "b", "c")
        assert keys([await soon(each) for each in told]) == [["a/1"], ["b"], ["a/1", "b", "c"]]
        assert below.watches == [{"a/", Exactly("b"), ""}]
        await put(store, "c")
        assert keys(await take(all_, 1)) == [["c"]]
        await store.close()

    run(work())


def test_who_wants_more_is_told_too_and_nobody_waits_for_that() -> None:
    async def work() -> None:
        below = Counted()
        store = MuxStore(below)
        for name in ("a", "b", "a"):
            await put(store, name)
        early, late = store.watch(["a"], 2), store.watch(["a"], 4)
        first = await waiting(late)
        more = await waiting(early, store.watch(["b"], 2))
        assert keys([await soon(each) for each in (*first, *more)]) == [["a"], ["a"], ["b"]]
        await put(store, "a")
        assert keys(await take(early, 2)) == [["a"], ["a"]]
        assert [changes.revision for changes in await take(late, 1)] == [5]
        await store.close()

    run(work())


def test_one_watch_is_left_once_a_wider_one_has_told_something() -> None:
    async def work() -> None:
        below = Counted()
        store = MuxStore(below)
        one = store.watch(["a"], 2)
        told = await waiting(one)
        two = store.watch(["b"], 2)
        told += await waiting(two)
        assert len(store._fanout._sources) == 2
        await put(store, "a", "b")
        assert keys([await soon(each) for each in told]) == [["a"], ["b"]]
        async with asyncio.timeout(PATIENCE):
            while [source.asked for source in store._fanout._sources] != [{"a", "b"}]:
                await asyncio.sleep(0.005)
        await store.close()

    run(work())


def test_nobody_watches_any_more() -> None:
    async def work() -> None:
        store = MuxStore(Counted())
        told = await waiting(store.watch(["a"], 2))
        await put(store, "a")
        await soon(told.pop())
        gc.collect()
        await asyncio.sleep(0)
        assert store._fanout._sources == []
        await store.close()

    run(work())


def test_an_error_is_told_to_each_once_and_asking_again_goes_on() -> None:
    async def work() -> None:
        below = Counted()
        store = MuxStore(below)
        watches = store.watch(["a"], 2), store.watch(["b"], 2)
        told = await waiting(*watches)
        below.fail(WeftError(Kind.UNREACHABLE, "it is away"))
        for each in told:
            with pytest.raises(WeftError, match="it is away"):
                await soon(each)
        await put(store, "a", "b")
        assert keys([await soon(anext(watch)) for watch in watches]) == [["a"], ["b"]]
        assert len(below.watches) == 1
        await store.close()

    run(work())


def test_new_watches_do_not_join_one_that_has_failed() -> None:
    """The store may be another one since."""

    async def work() -> None:
        below = Counted()
        store = MuxStore(below)
        old = store.watch(["a"], 2)
        told = await waiting(old)
        below.fail(WeftError(Kind.UNREACHABLE, "it is away"))
        with pytest.raises(WeftError):
            await soon(told[0])
        new = store.watch(["a"], 2)
        told = await waiting(new)
        assert len(below.watches) == 2
        await put(store, "a")
        assert keys([await soon(told[0])]) == [["a"]]
        await store.close()

    run(work())


def test_history_that_is_gone_is_told_to_whom_it_concerns() -> None:
    async def work() -> None:
        store = MuxStore(Counted())
        for _ in range(3):
            await put(store, "a")
        now = store.watch(["a"], 5)
        told = await waiting(now)
        await store.compact(4)
        with pytest.raises(Compacted):
            await soon(anext(store.watch(["a"], 2)))
        await put(store, "a")
        assert [changes.revision for changes in [await soon(told[0])]] == [5]
        await store.close()

    run(work())


PREFIX = st.sampled_from(["", "a", "b", "c", Exactly("a")])
STEP = st.one_of(
    st.lists(st.sampled_from(["a", "aa", "b", "c"]), min_size=1, max_size=3, unique=True),
    st.tuples(st.lists(PREFIX, max_size=2), st.integers(0, 4)),
)


@pytest.mark.thorough
@settings(max_examples=50, deadline=None)
@given(st.lists(STEP, max_size=14))
def test_any_watches_are_told_what_they_would_be_told_alone(steps: list[object]) -> None:
    async def work() -> None:
        memory = Memory()
        store, alone = MuxStore(MemoryStore(memory)), MemoryStore(memory)
        pairs: list[tuple[AsyncIterator[Changes], AsyncIterator[Changes]]] = []
        for step in steps:
            if isinstance(step, list):
                await put(store, *step)
            elif isinstance(step, tuple):
                since = max(2, memory.revision + 1 - step[1])
                pairs.append((store.watch(step[0], since), alone.watch(step[0], since)))
            pulled = [asyncio.ensure_future(anext(shared)) for shared, _ in pairs[::2]]
            await asyncio.sleep(0.001)
            for task, (_, own) in zip(pulled, pairs[::2], strict=True):
                if task.done():
                    assert task.result() == await soon(anext(own))
                task.cancel()
            await asyncio.gather(*pulled, return_exceptions=True)
        await put(store, "a", "aa", "b", "c")
        for shared, own in pairs:
            changes = None
            while changes is None or changes.revision < memory.revision:
                try:
                    changes = await asyncio.wait_for(anext(own), 0.02)
                except TimeoutError:  # it wants nothing
                    break
                assert await soon(anext(shared)) == changes
        await store.close()
        await alone.close()

    run(work())


def test_reports_go_together_and_what_must_be_durable_at_once() -> None:
    async def work() -> None:
        below = Counted()
        store = MuxStore(below)
        reports = [asyncio.ensure_future(store.transact([], [Put(f"s/{n}", b"x")], durable=False)) for n in range(150)]
        await asyncio.sleep(0)
        assert (await store.transact([], [Put("port", b"")])).revision == 2
        outcomes = [await soon(each) for each in reports]
        assert below.transactions == [1, 100, 50]
        assert {outcome.revision for outcome in outcomes} == {3, 4}
        assert len((await store.snapshot(["s/"])).items) == 150
        await store.close()

    run(work())


def test_the_last_report_of_one_key_stays_and_what_is_too_large_goes_alone() -> None:
    async def work() -> None:
        below = Counted()
        below.most = 1
        store = MuxStore(below)
        writes: list[list[Put | Delete]] = [[Put("a", b"1")], [Put("b", b"")], [Put("a", b"2")], [Delete("c")]]
        done = [asyncio.ensure_future(store.transact([], each, durable=False)) for each in writes]
        assert all([(await soon(each)).done for each in done])
        assert [(item.key, item.value) for item in (await store.snapshot()).items] == [("a", b"2"), ("b", b"")]
        with pytest.raises(TooLarge):
            await soon(store.transact([], [Put("a", b""), Put("b", b"")], durable=False))
        with pytest.raises(WeftError):
            await soon(store.transact([], [Put("", b"")], durable=False))
        await store.close()
        with pytest.raises(WeftError, match="closed"):
            await soon(store.transact([], [Put("a", b"")], durable=False))

    run(work())
