"""Following the store for ever: a snapshot of what the node has to know, then every change, without a gap.

What to know follows from what is known (weft.agent.interest), so a snapshot is read twice: what says what the interest
is, then all of it. When a change widens the interest, what is new is read before the change is taken, at revision S
say, and a new watch goes on with all of it after that change. What that watch tells of the new part up to S is in the
snapshot already and passed over. So the world goes in one step from before the change to after it, and a store that
fails in between leaves it as it was.

History that is lost, or a store that was: everything is read anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from weft.agent.contact import pause
from weft.agent.feed import Feed
from weft.agent.interest import Interest, first_prefixes
from weft.model.errors import WeftError
from weft.store.store import Change, Changes, Compacted, Item, Prefix, Snapshot, Store


class Follower:
    """Keeps a feed on the store. `loaded`: it stands on a new snapshot; `taken`: it has taken changes; `trouble`: the
    store cannot be used; each is called in the running loop.

    `octets`: of keys and values that the store has told, in snapshots and in changes.
    """

    def __init__(
        self,
        store: Store,
        feed: Feed,
        node: str,
        *,
        loaded: Callable[[], None],
        taken: Callable[[], None],
        trouble: Callable[[WeftError], None],
    ) -> None:
        self._store, self._feed, self._node = store, feed, node
        self._loaded, self._taken, self._trouble = loaded, taken, trouble
        self._interest = Interest(feed.keys, node)
        self._watched: frozenset[Prefix] = frozenset()
        self._failures = 0
        self.octets = {"snapshot": 0, "watch": 0}

    @property
    def networks(self) -> frozenset[str] | None:
        """The networks whose ports and endpoints are followed; None: all."""
        return None if self._interest.whole else self._interest.networks

    async def run(self) -> None:
        """Until cancelled, or until the store's handle is closed."""
        current = False
        while True:
            try:
                if not current:
                    await self._load()
                    current = True
                    self._loaded()
                if not await self._follow():
                    return
            except Compacted:
                current = False
            except WeftError as error:
                self._failures, current = self._failures + 1, False
                self._trouble(error)
                await asyncio.sleep(pause(self._failures))

    async def _load(self) -> None:
        interest, asked = Interest(self._feed.keys, self._node), first_prefixes(self._feed.keys, self._node)
        while True:
            snapshot = await self._snapshot(asked)
            interest = Interest(self._feed.keys, self._node)
            interest.take(snapshot.items)
            if asked == (wanted := interest.prefixes()):
                break
            asked = wanted
        self._interest, self._watched = interest, asked
        self._feed.load(snapshot)

    async def _follow(self) -> bool:
        """Until the interest is another one; False: the store's handle is closed. Raises `Compacted`, WeftError."""
        async for changes in self._store.watch(_sorted(self._watched), self._feed.revision + 1):
            self._failures = 0
            self.octets["watch"] += _octets(changes.changes)
            if await self._take(changes):
                return True
        return False

    async def _take(self, changes: Changes) -> bool:
        """Whether there is another interest from now on."""
        wanted = self._watched
        if self._interest.take(changes.changes):
            wanted = self._interest.prefixes()
        if wanted == self._watched:
            self._feed.take(changes)
            self._taken()
            return False
        if self._interest.whole or self._feed.keys.endpoints in self._watched:
            await self._load()  # between everything and a part of it there is no step in between
            self._loaded()
            return True
        more, gone = wanted - self._watched, self._watched - wanted
        fetched = await self._snapshot(more) if more else None
        self._feed.take(changes, fetched, _texts(more))
        self._feed.drop(_texts(gone))
        self._watched = wanted
        self._taken()
        return True

    async def _snapshot(self, prefixes: frozenset[Prefix]) -> Snapshot:
        snapshot = await self._store.snapshot(_sorted(prefixes))
        self.octets["snapshot"] += _octets(snapshot.items)
        return snapshot


def _sorted(prefixes: frozenset[Prefix]) -> list[Prefix]:
    return sorted(prefixes, key=str)


def _texts(prefixes: Iterable[Prefix]) -> list[str]:
    return [prefix for prefix in prefixes if isinstance(prefix, str)]


def _octets(told: Iterable[Change | Item]) -> int:
    return sum(len(each.key) + len(each.value or b"") for each in told)
