"""The promises of `weft.store.store` about leases, kept by every implementation alike."""

from __future__ import annotations

import asyncio

import pytest

from tests.store.store_places import Place, keys, on_store, opened, put, take
from weft.model.errors import Kind, WeftError
from weft.store import Change, Changes, Compare, Delete, LeaseLost, Outcome, Put, Store


@on_store
async def test_expiry_is_a_change_like_any_other(store: Store, place: Place) -> None:
    short, long = await store.grant(10), await store.grant(60)
    assert short != long
    assert 0 not in (short, long)
    await put(store, "z", "b", "a", lease=short)
    await put(store, "long", lease=long)
    before = await put(store, "free")
    place.pass_time(11)
    assert await keys(store) == ["free", "long"]
    (changes,) = await take(store.watch([""], before + 1), 1)
    gone = before + 1
    assert changes == Changes(gone, (Change("a", None, gone), Change("b", None, gone), Change("z", None, gone)))


@on_store
async def test_leases_that_end_together_are_transactions_each(store: Store, place: Place) -> None:
    leases = [await store.grant(10) for _ in range(3)]
    for lease in leases:
        before = await put(store, f"k{lease}", lease=lease)
    empty = await store.grant(5)
    place.pass_time(11)
    seen = await take(store.watch([""], before + 1), 3)
    assert {changes.changes[0].key for changes in seen} == {f"k{lease}" for lease in leases}
    assert (await store.snapshot()).revision == before + 3, f"lease {empty} had no keys"


@on_store
async def test_an_expired_lease_is_lost_though_nobody_swept(store: Store, place: Place) -> None:
    for attempt in (store.keep_alive, lambda lease: put(store, "a", lease=lease)):
        lease = await store.grant(10)
        place.pass_time(10)
        with pytest.raises(LeaseLost) as caught:
            await attempt(lease)
        assert caught.value.lease == lease
    assert await keys(store) == []


@on_store
async def test_expiry_stands_though_the_transaction_fails(store: Store, place: Place) -> None:
    lease = await store.grant(10)
    revision = await put(store, "a", lease=lease)
    place.pass_time(11)
    assert await store.transact([Compare("a", revision)], [Put("b", b"")]) == Outcome(False, revision + 1)
    with pytest.raises(LeaseLost):
        await put(store, "b", "a", lease=lease)
    assert await keys(store) == []


@on_store
async def test_a_failed_comparison_comes_before_a_lost_lease(store: Store, place: Place) -> None:
    assert not (await store.transact([Compare("a", 7)], [Put("a", b"", 12345)])).done
    with pytest.raises(LeaseLost):
        await store.transact([Compare("a", 0)], [Put("b", b""), Put("a", b"", 12345)])
    assert await keys(store) == []


@on_store
async def test_keep_alive_starts_the_time_anew(store: Store, place: Place) -> None:
    lease = await store.grant(10)
    revision = await put(store, "a", lease=lease)
    for _ in range(3):
        place.pass_time(6)
        await store.keep_alive(lease)
    assert (await store.snapshot()).revision == revision, "keeping alive is no change"
    place.pass_time(10)
    assert await keys(store) == []


@on_store
async def test_revoke_deletes_what_is_attached(store: Store, place: Place) -> None:
    lease = await store.grant(10)
    await put(store, "b", "a", lease=lease)
    before = await put(store, "c")
    await store.revoke(lease)
    await store.revoke(lease)
    assert await keys(store) == ["c"]
    (changes,) = await take(store.watch([""], before + 1), 1)
    assert [change.key for change in changes.changes] == ["a", "b"]
    with pytest.raises(LeaseLost):
        await store.keep_alive(lease)
    assert await store.grant(10) != lease


@on_store
async def test_a_later_put_decides_on_the_lease(store: Store, place: Place) -> None:
    first, second = await store.grant(10), await store.grant(20)
    await put(store, "detached", "moved", "deleted", lease=first)
    await put(store, "detached")
    await put(store, "moved", lease=second)
    await store.transact([], [Delete("deleted")])
    await put(store, "deleted")
    assert {item.key: item.lease for item in (await store.snapshot()).items} == {
        "detached": 0,
        "moved": second,
        "deleted": 0,
    }
    place.pass_time(11)
    assert await keys(store) == ["deleted", "detached", "moved"]
    place.pass_time(11)
    assert await keys(store) == ["deleted", "detached"]


@on_store
async def test_leases_outlive_their_handle(store: Store, place: Place) -> None:
    async with opened(place) as other:
        lease = await other.grant(10)
        await put(other, "a", lease=lease)
    await store.keep_alive(lease)
    place.pass_time(11)
    assert await keys(store) == []


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf")])
def test_a_lease_needs_time(place: Place, ttl: float) -> None:
    async def run() -> None:
        async with opened(place) as store:
            with pytest.raises(WeftError) as caught:
                await store.grant(ttl)
            assert caught.value.kind is Kind.INVALID

    asyncio.run(run())
