"""What a node says of itself, into the store: its facts and its status, where they differ from what it last said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from weft.agent.contact import pause
from weft.agent.feed import Feed
from weft.agent.status import Status
from weft.model.errors import WeftError
from weft.model.node import Facts, Node
from weft.plan.node import NodePlan
from weft.store.records import Keys, encode
from weft.store.store import Put, Store

_GATHER = 0.02  # seconds from the first news to its report: what an agent does in one go is one
_HASTE = 0.5  # seconds between two reports that differ in revision only: who waits for an apply wants to know
_LEISURE = 1.0  # seconds between two that differ in counts and notes only


def objections(feed: Feed, node: str, facts: Facts | None, wanted: NodePlan) -> list[str]:
    """What speaks against running this agent with this store, which is to leave the host as `wanted`."""
    if not feed.applied and (wanted.segments or wanted.ports):
        return ["nothing was ever applied to this store, so what this host has stays as it is; `weft apply`"]
    declared = feed.world.nodes.get(node)
    if declared is None and (wanted.segments or wanted.ports or wanted.routers):
        way = f"declare it, start its agent by its right --node, or take all down: `weft agent --node {node} --cleanup`"
        return [f"node {node} is not declared, so what this host has stays as it is; {way}"]
    return misplaced(declared, node, facts)


def in_charge(feed: Feed, node: str, facts: Facts | None) -> bool:
    """Whether this store may say what this host has: something was applied to it, for this node, and not for another
    datapath."""
    declared = feed.world.nodes.get(node)
    return feed.applied and declared is not None and not (facts and declared.datapath != facts.datapath)


def misplaced(declared: Node | None, node: str, facts: Facts | None) -> list[str]:
    """What is wrong with running this agent here: nobody declares its node, or with another datapath."""
    if declared is None:
        return [f"node {node} is not declared; add it under `nodes:` with its VTEP address"]
    if facts and facts.datapath != declared.datapath:
        what = f"node {node} is declared with datapath {declared.datapath}, its agent runs {facts.datapath}"
        way = f"stop it, `weft agent --node {node} --cleanup`, start it again without --datapath; or change the file"
        return [f"{what}: this host stays as it is; {way}"]
    return []


class Reporter:
    """Says in a task of its own, so that nothing on the host waits for the store.

    `now`: the monotonic clock, `wall` the one for reports; both in seconds. `trouble`: the store has failed.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        node: str,
        now: Callable[[], float],
        wall: Callable[[], float],
        trouble: Callable[[WeftError], None],
    ) -> None:
        self._store, self._keys, self._node, self._now, self._wall = store, keys, node, now, wall
        self._trouble = trouble
        self._facts: Facts | None = None  # as last said
        self._status: Status | None = None
        self._stores = 0  # that were new
        self._news: tuple[Facts | None, Status] | None = None
        self._due = asyncio.Event()
        self._at = 0.0
        self._failures = 0

    def say(self, facts: Facts | None, status: Status) -> None:
        """What is to be said from now on."""
        if self._news != (facts, status):
            self._news = facts, status
            self._due.set()

    def anew(self) -> None:
        """The store may be another one, or as it was some time ago: nothing was said yet."""
        self._facts = self._status = None
        self._stores += 1
        self._due.set()

    async def run(self) -> None:
        """Until cancelled. What the store does not take is said again once it does."""
        later: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(later):
                    await self._due.wait()
            await asyncio.sleep(_GATHER)
            self._due.clear()
            later = await self._publish(*self._news) if self._news else None

    async def _publish(self, facts: Facts | None, status: Status) -> float | None:
        """Writes what is new. Returns seconds after which to come again."""
        writes: list[Put] = []
        store = self._stores
        if facts and facts != self._facts:
            writes.append(Put(f"{self._keys.facts}{self._node}", encode(facts)))
        if status != self._status:
            if not writes and (left := self._at + self._rest(status) - self._now()) > 0:
                return left
            report = msgspec.structs.replace(status, time=self._wall())
            writes.append(Put(f"{self._keys.status}{self._node}", encode(report)))
        try:
            if writes:
                await self._store.transact([], writes, durable=False)
        except WeftError as error:
            self._failures += 1
            self._trouble(error)
            return pause(self._failures)
        self._at, self._failures = self._now(), 0
        if store == self._stores:  # another one, which came while this was written, was told no more than this
            self._facts, self._status = facts, status
        return None

    def _rest(self, status: Status) -> float:
        """Seconds to keep from the last report: by what it differs in."""
        old = self._status
        if old is None:
            return 0.0
        counts = msgspec.structs.replace(status, operations=old.operations, rows=old.rows, notes=old.notes)
        if counts == old:
            return _LEISURE
        return _HASTE if msgspec.structs.replace(counts, revision=old.revision) == old else 0.0
