"""The waiting half of a watch, common to the stores of this machine.

A `Watch` reads what is there from its next revision on, hands it out transaction by transaction, and sleeps on a `Bell`
when there is no more. It is an iterator with state rather than a generator, so that cancelling a wait (a timeout around
`anext`) does not end it. Reading and going to sleep happen without an await between them: no ring falls in the gap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable

from weft.store.store import Changes

SAFETY_POLL = 5.0
"""Seconds after which a watch looks without having been woken: a writer may be killed before it rings."""

BATCH = 1000
"""Changes read in one go, if transactions allow: a long backlog need not be in memory at once."""

Read = Callable[[int], tuple[Iterable[Changes], int]]
"""From a revision: the changes that follow, as far as read, and the revision to read on from; raises `Compacted`."""


class Bell:
    """Wakes the tasks of one event loop that wait for it."""

    def __init__(self) -> None:
        self.closed = False
        self._waiting: set[asyncio.Future[None]] = set()

    async def wait(self, seconds: float) -> None:
        """Until the next ring, `seconds` at most."""
        loop = asyncio.get_running_loop()
        rung: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _settle, rung)
        self._waiting.add(rung)
        try:
            await rung
        finally:
            timer.cancel()
            self._waiting.discard(rung)

    def ring(self) -> None:
        for rung in self._waiting:
            _settle(rung)

    def close(self) -> None:
        """Wakes everybody for the last time."""
        self.closed = True
        self.ring()


class Watch(AsyncIterator[Changes]):
    """Changes from `revision` on. `patience` says how many seconds to sleep at most."""

    def __init__(self, bell: Bell, read: Read, patience: Callable[[], float], revision: int) -> None:
        self._bell = bell
        self._read = read
        self._patience = patience
        self._next = revision
        self._ready: deque[Changes] = deque()

    async def __anext__(self) -> Changes:
        while not self._bell.closed:
            if self._ready:
                return self._ready.popleft()
            before = self._next
            ready, self._next = self._read(before)
            self._ready.extend(ready)
            if not self._ready and self._next == before:
                await self._bell.wait(self._patience())
            else:
                await asyncio.sleep(0)  # a long backlog leaves the loop to others between batches
        raise StopAsyncIteration


def _settle(rung: asyncio.Future[None]) -> None:
    if not rung.done():
        rung.set_result(None)
