"""What a node says of itself, into the store: its facts and its status, where they differ from what it last said.

Reporting is a task of its own, so that neither a store that hangs nor the report itself keeps the agent from its work.
What an agent does in one go gathers for a moment into one report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from weft.agent.status import Status
from weft.model.errors import WeftError
from weft.model.node import Facts, Node
from weft.store.records import Keys, encode
from weft.store.store import Put, Store

_GATHER = 0.02  # seconds from the first news to its report
_HASTE = 0.5  # seconds between two reports that differ in revision only: who waits for an apply wants to know
_LEISURE = 1.0  # seconds between two that differ in counts and notes only
_AGAIN = 1.0  # seconds until the store is tried again


def misplaced(declared: Node | None, node: str, facts: Facts | None) -> list[str]:
    """What is wrong with running this agent here: nobody declares its node, or with another datapath."""
    if declared is None:
        return [f"node {node} is not declared; add it under `nodes:` with its VTEP address"]
    if facts and facts.datapath != declared.datapath:
        what = f"node {node} is declared with datapath {declared.datapath}, its agent runs {facts.datapath}"
        return [f"{what}; start it with --datapath {declared.datapath}, or change the file"]
    return []


class Reporter:
    """`now`: the monotonic clock, `wall` the one for reports; both in seconds. `trouble`: the store cannot be used."""

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
        self._news = asyncio.Event()
        self._latest: tuple[Facts | None, Status] | None = None
        self._facts: Facts | None = None
        self._status: Status | None = None
        self._at = 0.0

    def say(self, facts: Facts | None, status: Status) -> None:
        """This is how it stands now."""
        self._latest = facts, status
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            await asyncio.sleep(_GATHER)
            self._news.clear()
            try:
                later = await self.publish()
            except WeftError as error:
                self._trouble(error)
                later = _AGAIN
            if later is not None:
                self._news.set()
                await asyncio.sleep(later)

    async def publish(self) -> float | None:
        """Writes what is new. Returns seconds after which to come again, where it can wait. Raises WeftError."""
        if self._latest is None:
            return None
        facts, status = self._latest
        writes: list[Put] = []
        if facts and facts != self._facts:
            writes.append(Put(f"{self._keys.facts}{self._node}", encode(facts)))
        if status != self._status:
            if not writes and (left := self._at + self._pause(status) - self._now()) > 0:
                return left
            report = msgspec.structs.replace(status, time=self._wall())
            writes.append(Put(f"{self._keys.status}{self._node}", encode(report)))
        if writes:
            await self._store.transact([], writes, durable=False)
            self._facts, self._status, self._at = facts, status, self._now()
        return None

    def _pause(self, status: Status) -> float:
        """Seconds to keep from the last report: by what it differs in."""
        old = self._status
        if old is None:
            return 0.0
        counts = msgspec.structs.replace(status, operations=old.operations, rows=old.rows, notes=old.notes)
        if counts == old:
            return _LEISURE
        return _HASTE if msgspec.structs.replace(counts, revision=old.revision) == old else 0.0
