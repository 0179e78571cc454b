"""The promises of `weft.store.store`, kept by every implementation alike."""

from __future__ import annotations

import asyncio

import pytest

from tests.store.store_places import Place, keys, on_store, opened, put, soon, take
from weft.model.errors import Kind, WeftError
from weft.store import (
    Change,
    Changes,
    Compacted,
    Compare,
    Delete,
    Exactly,
    Item,
    Outcome,
    Put,
    Store,
)

# -- snapshot and transaction -------------------------------------------------------------------------------------


@on_store
async def test_an_empty_store_stands_at_revision_1(store: Store, place: Place) -> None:
    snapshot = await store.snapshot()
    assert (snapshot.revision, snapshot.items) == (1, ())


@on_store
async def test_all_changes_of_a_transaction_carry_its_revision(store: Store, place: Place) -> None:
    first = await put(store, "b", "a")
    assert await store.transact([], [Put("b", b"new"), Delete("none")]) == Outcome(True, first + 1)
    snapshot = await store.snapshot()
    assert snapshot.items == (Item("a", b"a", first), Item("b", b"new", first + 1))
    assert snapshot.revision == first + 1


@on_store
async def test_what_changes_nothing_raises_no_revision(store: Store, place: Place) -> None:
    before = await put(store, "a")
    assert await store.transact([], []) == Outcome(True, before)
    assert await store.transact([], [Delete("none")]) == Outcome(True, before)
    assert await put(store, "a") == before + 1, "the same value again is a change"


@on_store
async def test_prefixes_cover_text_and_each_item_once(store: Store, place: Place) -> None:
    await put(store, "a", "a/b", "a/bc", "a0", "b/x", "c\U0010ffff", "c\U0010ffffd", "d", "\ud7ffx", "\ue000")
    assert await keys(store, "a/") == ["a/b", "a/bc"]
    assert await keys(store, "b", "a/b", "a", "b") == ["a", "a/b", "a/bc", "a0", "b/x"]
    assert await keys(store, "c\U0010ffff") == ["c\U0010ffff", "c\U0010ffffd"]
    assert await keys(store, "\ud7ff") == ["\ud7ffx"]
    assert (await store.snapshot([])).items == ()
    assert len(await keys(store, "", "a")) == 10


@on_store
async def test_a_single_key_is_not_what_begins_with_it(store: Store, place: Place) -> None:
    start = await put(store, "a", "a/b", "a\0", "b", "b/c", "c")
    assert await keys(store, Exactly("a")) == ["a"]
    assert await keys(store, "b/", Exactly("none"), Exactly("c"), Exactly("a")) == ["a", "b/c", "c"]
    assert await keys(store, "a", Exactly("a/b"), Exactly("b")) == ["a", "a\0", "a/b", "b"]
    assert await keys(store, Exactly("")) == []
    watch = store.watch([Exactly("b"), Exactly("a"), "c"], start + 1)
    for key in ("a/b", "a", "a\0", "b/c", "b", "cd"):
        await put(store, key)
    await store.transact([], [Delete("a"), Delete("a/b")])
    told = [[change.key for change in changes.changes] for changes in await take(watch, 4)]
    assert told == [["a"], ["b"], ["cd"], ["a"]]


@on_store
async def test_keys_are_any_text_and_values_any_bytes(store: Store, place: Place) -> None:
    values = {"net/grün/💡": b"", "nul\0key": bytes(range(256)), "large": b"x" * 1_000_000, "%_'\"": b"\0"}
    await store.transact([], [Put(key, value) for key, value in values.items()])
    snapshot = await store.snapshot()
    assert {item.key: item.value for item in snapshot.items} == values
    assert [item.key for item in snapshot.items] == sorted(values)
    (changes,) = await take(store.watch([""], 2), 1)
    assert {change.key: change.value for change in changes.changes} == values
    assert await keys(store, "net/grün") == ["net/grün/💡"]


@on_store
async def test_a_comparison_that_fails_writes_nothing(store: Store, place: Place) -> None:
    revision = await put(store, "a")
    for compare in (Compare("a", 0), Compare("a", revision - 1), Compare("b", revision)):
        outcome = await store.transact([Compare("a", revision), compare], [Put("b", b""), Delete("a")])
        assert outcome == Outcome(False, revision)
    assert await keys(store) == ["a"]
    outcome = await store.transact([Compare("a", revision), Compare("b", 0)], [Put("b", b""), Delete("a")])
    assert outcome == Outcome(True, revision + 1)
    assert await keys(store) == ["b"]
    assert (await store.transact([Compare("a", 0)], [Put("a", b"")])).done, "a deleted key does not exist"


@pytest.mark.parametrize(
    "writes",
    [
        [Put("a", b"1"), Put("a", b"2")],
        [Put("a", b"1"), Delete("a")],
        [Delete("a"), Delete("a")],
        [Put("", b"1")],
        [Put("b", b"1"), Put("\ud800", b"1")],
    ],
)
def test_refused_writes_leave_the_store_as_it_was(place: Place, writes: list[Put | Delete]) -> None:
    async def run() -> None:
        async with opened(place) as store:
            revision = await put(store, "a")
            with pytest.raises(WeftError) as caught:
                await store.transact([], writes)
            assert caught.value.kind is Kind.INVALID
            assert (await store.snapshot()).revision == revision
            assert await keys(store) == ["a"]

    asyncio.run(run())


@on_store
async def test_handles_see_each_other(store: Store, place: Place) -> None:
    async with opened(place) as other:
        watch = other.watch(["a"], 2)
        waiting = asyncio.create_task(take(watch, 1))
        await asyncio.sleep(0)
        revision = await put(store, "a")
        assert await soon(waiting) == [Changes(revision, (Change("a", b"a", revision),))]
        assert await keys(other) == ["a"]


# -- watch --------------------------------------------------------------------------------------------------------


@on_store
async def test_a_watch_gives_whole_transactions_in_order(store: Store, place: Place) -> None:
    first = await put(store, "b", "x/1", "a")
    await put(store, "x/2")
    await store.transact([], [Delete("b"), Put("c", b""), Delete("x/1"), Delete("none")])
    seen = await take(store.watch(["a", "b", "c"], first), 2)
    assert [(changes.revision, set(changes.changes)) for changes in seen] == [
        (first, {Change("b", b"b", first), Change("a", b"a", first)}),
        (first + 2, {Change("b", None, first + 2), Change("c", b"", first + 2)}),
    ]
    ordered = await take(store.watch([""], first), 3)
    assert [[change.key for change in changes.changes] for changes in ordered] == [
        ["b", "x/1", "a"],
        ["x/2"],
        ["b", "c", "x/1"],
    ]


@on_store
async def test_transactions_stay_whole_under_load(store: Store, place: Place) -> None:
    prefixes = [f"{letter}/" for letter in "abcdefgh"]
    watch = store.watch(prefixes, 2)

    async def write(part: int) -> None:
        for number in range(50):
            await put(store, *(f"{prefix}{part}-{number}" for prefix in prefixes))

    writing = [asyncio.create_task(write(part)) for part in range(4)]
    seen = await take(watch, 200)
    await asyncio.gather(*writing)
    assert [changes.revision for changes in seen] == list(range(2, 202))
    assert {len(changes.changes) for changes in seen} == {8}


@on_store
async def test_a_watch_starts_where_asked(store: Store, place: Place) -> None:
    for _ in range(4):
        last = await put(store, "a")
    past = await take(store.watch([""], last - 1), 2)
    assert [changes.revision for changes in past] == [last - 1, last]
    future = store.watch([""], last + 3)
    for _ in range(4):
        await put(store, "a")
    assert [changes.revision for changes in await take(future, 2)] == [last + 3, last + 4]


@on_store
async def test_snapshot_then_watch_leaves_no_gap(store: Store, place: Place) -> None:
    await put(store, "a")
    watch = store.watch(["a"], (await store.snapshot()).revision + 1)
    revision = await put(store, "a/b")
    assert [changes.revision for changes in await take(watch, 1)] == [revision]


@on_store
async def test_a_cancelled_wait_loses_nothing(store: Store, place: Place) -> None:
    watch = store.watch([""], 2)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(anext(watch), 0.01)
    revision = await put(store, "a")
    assert [changes.revision for changes in await take(watch, 1)] == [revision]


@on_store
async def test_many_watches_get_the_same(store: Store, place: Place) -> None:
    watches = [asyncio.create_task(take(store.watch([""], 2), 3)) for _ in range(20)]
    for key in ("a", "b", "c"):
        await asyncio.sleep(0)
        await put(store, key)
    seen = await asyncio.gather(*watches)
    assert all([changes.changes[0].key for changes in each] == ["a", "b", "c"] for each in seen)


@on_store
async def test_a_long_backlog_comes_whole(store: Store, place: Place) -> None:
    revisions = [await put(store, *(f"{number}/{part}" for part in range(100))) for number in range(30)]
    seen = await take(store.watch([""], 2), 30)
    assert [changes.revision for changes in seen] == revisions
    assert {len(changes.changes) for changes in seen} == {100}


@on_store
async def test_close_ends_watches_and_calls(store: Store, place: Place) -> None:
    watch = store.watch([""], 2)

    async def all_changes() -> list[Changes]:
        return [changes async for changes in watch]

    waiting = asyncio.create_task(all_changes())
    await asyncio.sleep(0.01)
    await store.close()
    assert await soon(waiting) == []
    await store.close()
    with pytest.raises(WeftError) as caught:
        await store.snapshot()
    assert caught.value.kind is Kind.UNREACHABLE


# -- compaction ---------------------------------------------------------------------------------------------------


@on_store
async def test_compaction_forgets_history_only(store: Store, place: Place) -> None:
    for key in ("a", "b", "c"):
        last = await put(store, key)
    late = store.watch([""], 2)
    await store.compact(last)
    await store.compact(2)  # going back does nothing
    for watch in (late, store.watch([""], last - 1)):
        with pytest.raises(Compacted) as caught:
            await anext(watch)
        assert caught.value.oldest == last
    assert [changes.revision for changes in await take(store.watch([""], last), 1)] == [last]
    assert await keys(store) == ["a", "b", "c"]


@on_store
async def test_compaction_of_everything(store: Store, place: Place) -> None:
    last = await put(store, "a")
    with pytest.raises(WeftError) as caught:
        await store.compact(last + 2)
    assert caught.value.kind is Kind.INVALID
    await store.compact(last + 1)
    watch = store.watch([""], last + 1)
    revision = await put(store, "b")
    assert revision == last + 1
    assert [changes.revision for changes in await take(watch, 1)] == [revision]


@on_store
async def test_a_deletion_at_the_compacted_revision_is_still_seen(store: Store, place: Place) -> None:
    await put(store, "a")
    outcome = await store.transact([], [Delete("a")])
    await store.compact(outcome.revision)
    (changes,) = await take(store.watch([""], outcome.revision), 1)
    assert changes.changes == (Change("a", None, outcome.revision),)
