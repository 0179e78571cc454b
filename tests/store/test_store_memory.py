"""What the memory store does by itself: trimming its history."""

from __future__ import annotations

import asyncio

import pytest

from tests.store.store_places import take
from weft.store import Compacted, Put
from weft.store.memory import Memory, MemoryStore


def test_history_is_trimmed_unasked() -> None:
    async def run() -> None:
        store = MemoryStore(Memory(history=10))
        for _ in range(50):
            await store.transact([], [Put(key, b"") for key in "abc"])
        with pytest.raises(Compacted) as caught:
            await anext(store.watch([""], 2))
        kept = 51 - caught.value.oldest + 1
        assert 7 <= 3 * kept <= 2 * 10 + 3
        assert len(await take(store.watch([""], caught.value.oldest), kept)) == kept
        await store.transact([], [Put(f"{number}", b"") for number in range(100)])
        assert len((await take(store.watch([""], 52), 1))[0].changes) == 100, "the last transaction stays whole"

    asyncio.run(run())
