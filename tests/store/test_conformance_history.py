"""Any history: the store is a dict with a memory, and a watch from any revision replays it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.store_places import Place, opened, soon
from weft.store import Changes, Compare, Delete, Exactly, Item, Prefix, Put, Store

KEY = st.sampled_from(["a", "a/b", "a/bc", "b", "b/\0", "ü/💡", "\U0010ffff"])
WRITE = st.one_of(st.builds(Put, KEY, st.binary(max_size=3)), st.builds(Delete, KEY))
WRITES = st.lists(WRITE, max_size=4, unique_by=lambda write: write.key)
STEP = st.tuples(st.dictionaries(KEY, st.booleans(), max_size=2), WRITES, st.booleans())
PREFIXES = st.lists(st.sampled_from(["", "a", "a/", "b", "ü", "\U0010ffff", Exactly("a"), Exactly("b/\0")]), max_size=3)


@pytest.mark.thorough
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=12), prefixes=PREFIXES)
def test_any_transactions_match_a_dict_and_any_watch_replays_them(
    new_place: Callable[[], Place],
    steps: list[tuple[dict[str, bool], list[Put | Delete], bool]],
    prefixes: list[Prefix],
) -> None:
    async def replay(place: Place) -> None:
        async with opened(place) as store, opened(place) as other:
            model: dict[str, Item] = {}
            states = {1: dict(model)}
            revision = oldest = 1
            for compares, writes, compact in steps:
                asked = [
                    Compare(key, (model[key].revision if key in model else 0) + (0 if right else 1))
                    for key, right in compares.items()
                ]
                outcome = await other.transact(asked, writes)
                assert outcome.done == all(compares.values())
                if outcome.done and any(isinstance(write, Put) or write.key in model for write in writes):
                    revision += 1
                    for write in writes:
                        model.pop(write.key, None)
                        if isinstance(write, Put):
                            model[write.key] = Item(write.key, write.value, revision)
                assert outcome.revision == revision
                states[revision] = dict(model)
                if compact:
                    oldest = revision
                    await store.compact(oldest)
            covered = {key: item for key, item in model.items() if any(_covers(each, key) for each in prefixes)}
            assert (await store.snapshot(prefixes)).items == tuple(covered[key] for key in sorted(covered))
            for since in range(oldest, revision + 1):
                # What a watch from `since` adds to the state just before is the state now.
                replayed = {key: item.value for key, item in states[since].items()}
                async for changes in _until(store, since + 1, revision):
                    for change in changes.changes:
                        replayed.pop(change.key, None)
                        if change.value is not None:
                            replayed[change.key] = change.value
                assert replayed == {key: item.value for key, item in model.items()}

    asyncio.run(replay(new_place()))


def _covers(prefix: Prefix, key: str) -> bool:
    return key == prefix.key if isinstance(prefix, Exactly) else key.startswith(prefix)


async def _until(store: Store, since: int, last: int) -> AsyncIterator[Changes]:
    if since <= last:
        watch = store.watch([""], since)
        for revision in range(since, last + 1):
            changes = await soon(anext(watch))
            assert changes.revision == revision
            yield changes
