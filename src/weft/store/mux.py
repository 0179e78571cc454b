"""One store for the many agents of one process, as labs have them: one watch reads for all (`weft.store.fanout`), and
what need not be durable is written together.

Each agent writes reports of its own, and each write would wake whoever watches the store, cost a transaction, and come
in the middle of what others program. What is not `durable` and compares nothing therefore gathers for a moment and goes
as one transaction; of a key that is written twice in it the last value stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from weft.model.errors import WeftError
from weft.store.check import check_transaction, closed
from weft.store.fanout import Fanout
from weft.store.store import Changes, Compare, Delete, Outcome, Prefix, Put, Snapshot, Store, TooLarge

_GATHER = 0.05
"""Seconds for which writes that need not be durable wait for others."""

_MOST = 100
"""Of them in one transaction; etcd takes 128."""

Write = Put | Delete


class MuxStore:
    """Implements `Store` over another one, which it closes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fanout = Fanout(store)
        self._waiting: list[tuple[Sequence[Write], asyncio.Future[Outcome]]] = []
        self._writing: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return self._store.url

    async def snapshot(self, prefixes: Sequence[Prefix] = ("",)) -> Snapshot:
        return await self._store.snapshot(prefixes)

    def watch(self, prefixes: Sequence[Prefix], revision: int) -> AsyncIterator[Changes]:
        if self._fanout.closed:
            raise closed(self.url)
        return self._fanout.watch(prefixes, revision)

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Write], *, durable: bool = True) -> Outcome:
        if durable or compares or any(isinstance(write, Put) and write.lease for write in writes):
            return await self._store.transact(compares, writes, durable=durable)
        if self._fanout.closed:
            raise closed(self.url)
        check_transaction(compares, writes)
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((writes, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await done

    async def grant(self, ttl: float) -> int:
        return await self._store.grant(ttl)

    async def keep_alive(self, lease: int) -> None:
        await self._store.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        await self._store.revoke(lease)

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def close(self) -> None:
        self._fanout.close()
        await self._store.close()

    async def _write(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_GATHER)
                while self._waiting:
                    await self._write_some()
        finally:
            self._writing = None

    async def _write_some(self) -> None:
        batch, merged = 0, dict[str, Write]()
        for writes, _ in self._waiting:
            if batch and len(merged) + len(writes) > _MOST:
                break
            merged |= {write.key: write for write in writes}
            batch += 1
        taken, self._waiting = self._waiting[:batch], self._waiting[batch:]
        try:
            outcome = await self._store.transact([], list(merged.values()), durable=False)
        except TooLarge as error:
            if len(taken) == 1:
                _fail(taken, error)
            for each in taken if len(taken) > 1 else ():
                await self._write_one(each)
        except WeftError as error:
            _fail(taken, error)
        else:
            for _, done in taken:
                _settle(done, outcome)

    async def _write_one(self, each: tuple[Sequence[Write], asyncio.Future[Outcome]]) -> None:
        try:
            _settle(each[1], await self._store.transact([], each[0], durable=False))
        except WeftError as error:
            _fail([each], error)


def _settle(done: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not done.done():  # who waited may have been cancelled
        done.set_result(outcome)


def _fail(taken: Sequence[tuple[Sequence[Write], asyncio.Future[Outcome]]], error: WeftError) -> None:
    for _, done in taken:
        if not done.done():
            done.set_exception(error)
