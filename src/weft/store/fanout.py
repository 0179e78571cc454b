"""Many watches of one process as few of the store's: each change is read once, and told to whoever asked for it.

A `Source` is one watch of the store, over all that is asked for when it is opened. A `SharedWatch` takes from every
source that serves it, each revision once: a source serves a watch from the moment when both stand at the same revision,
or the watch further on, so whatever it tells next, it has told all before that the watch wants.

A watch that no source covers (it wants more, or starts earlier) has another one opened, which covers the others too;
these go on with the old one until the new one has told something. So nobody waits while somebody's interest changes.

An error of a source is told once to each watch that nothing else serves. Who asks again asks the same watch of the
store; new watches never join one that has failed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from weakref import WeakSet

from weft.store.prefix import Prefixes
from weft.store.store import Changes, Prefix, Store

_GATHER = 0.005
"""Seconds in which further watches may come before a source is opened for them: agents start together."""


class Source:
    """One watch of the store. `next`: the revision that it tells from, `failed`: the last it said was an error."""

    def __init__(self, told: AsyncIterator[Changes], asked: frozenset[Prefix], revision: int) -> None:
        self.told, self.asked, self.next = told, asked, revision
        self.serves: WeakSet[SharedWatch] = WeakSet()
        self.failed = False
        self.task: asyncio.Task[None] | None = None

    def join(self, watch: SharedWatch) -> None:
        """Serves the watch from now on, if it can."""
        if not self.failed and self.next <= watch.next and watch.asked <= self.asked:
            self.serves.add(watch)


class Fanout:
    """The watches of a store, shared. For one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watches: WeakSet[SharedWatch] = WeakSet()
        self._asking: WeakSet[SharedWatch] = WeakSet()  # that nothing serves yet
        self._sources: list[Source] = []
        self._opening: asyncio.TimerHandle | None = None
        self.closed = False

    def watch(self, prefixes: Sequence[Prefix], revision: int) -> SharedWatch:
        watch = SharedWatch(self, prefixes, revision)
        self._watches.add(watch)
        return watch

    def close(self) -> None:
        """Ends all watches as a loop ends."""
        self.closed = True
        if self._opening is not None:
            self._opening.cancel()
        self._retire(list(self._sources))
        for watch in self._watches:
            watch.ring()

    def serve(self, watch: SharedWatch) -> None:
        """Sees to it that a watch which waits is told, sooner or later."""
        for source in self._sources:
            source.join(watch)
        mine = [source for source in self._sources if watch in source.serves]
        for source in mine:
            if source.task is None:
                source.task = asyncio.create_task(self._run(source))
        if not mine and self._opening is None:
            self._opening = asyncio.get_running_loop().call_later(_GATHER, self._open)
        if not mine:
            self._asking.add(watch)

    def left(self) -> None:
        """Nobody wants one of the watches any more; the collector may find that in the middle of anything."""
        asyncio.get_running_loop().call_soon(self._prune)

    def _prune(self) -> None:
        self._retire([source for source in self._sources if not source.serves])

    def _open(self) -> None:
        self._opening = None
        asking, self._asking = list(self._asking), WeakSet()
        if not asking:
            return
        asked = frozenset[Prefix]().union(*(watch.asked for watch in self._watches))
        first = min(watch.next for watch in asking)
        try:
            source = Source(self._store.watch(sorted(asked, key=str), first), asked, first)
        except Exception as error:
            for watch in asking:
                watch.fail(error)
            return
        for watch in self._watches:
            source.join(watch)
        self._sources.append(source)
        source.task = asyncio.create_task(self._run(source))

    async def _run(self, source: Source) -> None:
        error: Exception | None = None
        try:
            async for changes in source.told:
                source.failed = False
                self._tell(source, changes)
        except Exception as raised:
            error = raised
        source.task, source.failed = None, True
        for watch in source.serves:
            if not any(watch in other.serves for other in self._sources if not other.failed):
                watch.fail(error or StopAsyncIteration())

    def _tell(self, source: Source, changes: Changes) -> None:
        for watch in self._watches:
            source.join(watch)
        source.next = changes.revision + 1
        for watch in source.serves:
            watch.take(changes)
        self._retire([other for other in self._sources if other is not source and other.serves <= source.serves])

    def _retire(self, sources: Iterable[Source]) -> None:
        for source in sources:
            if source.task is not None:
                source.task.cancel()
            self._sources.remove(source)


class SharedWatch(AsyncIterator[Changes]):
    """Changes from `revision` on, under any of the prefixes; `next`: the revision to go on from."""

    def __init__(self, fanout: Fanout, prefixes: Sequence[Prefix], revision: int) -> None:
        self._fanout = fanout
        self.asked, self.next = frozenset(prefixes), revision
        self._wanted = Prefixes(prefixes)
        self._ready: deque[Changes] = deque()
        self._error: Exception | None = None
        self._news: asyncio.Future[None] | None = None

    async def __anext__(self) -> Changes:
        while not self._fanout.closed:
            if self._ready:
                return self._ready.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            self._fanout.serve(self)
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        raise StopAsyncIteration

    def __del__(self) -> None:
        with suppress(RuntimeError):  # its loop may be gone
            self._fanout.left()

    def take(self, changes: Changes) -> None:
        """What it wants of these, unless another source has told them."""
        if changes.revision < self.next:
            return
        self.next = changes.revision + 1
        inside = tuple(change for change in changes.changes if change.key in self._wanted)
        if inside:
            self._ready.append(Changes(changes.revision, inside))
            self.ring()

    def fail(self, error: Exception) -> None:
        """Raises this when all that is ready was taken."""
        self._error = error
        self.ring()

    def ring(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
