"""The store in one process's memory: for tests, and for a lab whose agents share a process.

A `Memory` is what is stored; a `MemoryStore` is a handle to it. Handles may share one, by name. It is also the plain
statement of what a store does: the other implementations are measured against it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from weakref import WeakSet, WeakValueDictionary

from weft.store.check import check_compaction, check_transaction, check_ttl, closed
from weft.store.clock import Clock, boottime
from weft.store.prefix import Prefixes
from weft.store.store import (
    Change,
    Changes,
    Compacted,
    Compare,
    Delete,
    Item,
    LeaseLost,
    Outcome,
    Prefix,
    Put,
    Snapshot,
)
from weft.store.watch import BATCH, SAFETY_POLL, Bell, Watch

HISTORY = 200_000
"""Changes kept for watches, at least, before the oldest are forgotten unasked."""


@dataclass(slots=True)
class Lease:
    """Ends at `deadline` (the clock's seconds) and takes `keys` along."""

    ttl: float
    deadline: float
    keys: set[str] = field(default_factory=set)


class Memory:
    """Items, history and leases. No method waits, so each is atomic within its event loop."""

    def __init__(self, clock: Clock = boottime, history: int = HISTORY) -> None:
        self.clock = clock
        self.revision = 1
        self.oldest = 1
        self.items: dict[str, Item] = {}
        self.leases: dict[int, Lease] = {}
        self.bells: WeakSet[Bell] = WeakSet()
        self._history: list[Changes] = []  # by revision
        self._limit = history
        self._kept = 0  # changes in it
        self._granted = 0

    def write(self, writes: Iterable[Put | Delete]) -> None:
        """One transaction, already compared; its leases exist."""
        revision = self.revision + 1
        changes = tuple(
            self._write(write, revision) for write in writes if isinstance(write, Put) or write.key in self.items
        )
        if not changes:
            return
        self.revision = revision
        self._history.append(Changes(revision, changes))
        self._kept += len(changes)
        if self._kept > 2 * self._limit:
            self._trim()
        self.ring()

    def history(self, revision: int) -> list[Changes]:
        """Up to `BATCH` transactions from `revision` on; raises `Compacted`."""
        if revision < self.oldest:
            raise Compacted(self.oldest)
        first = self._at(revision)
        return self._history[first : first + BATCH]

    def forget(self, oldest: int) -> None:
        """History then starts at `oldest`, if it does not start later already."""
        if oldest > self.oldest:
            gone = self._at(oldest)
            self._kept -= sum(len(changes.changes) for changes in self._history[:gone])
            del self._history[:gone]
            self.oldest = oldest

    def grant(self, ttl: float) -> int:
        self._granted += 1
        self.leases[self._granted] = Lease(ttl, self.clock() + ttl)
        return self._granted

    def end(self, lease: int) -> None:
        if lease in self.leases:
            self.write([Delete(key) for key in sorted(self.leases[lease].keys)])
            del self.leases[lease]

    def expire(self) -> None:
        """Ends the leases that are due, in the order they were."""
        now = self.clock()
        due = [(lease.deadline, number) for number, lease in self.leases.items() if lease.deadline <= now]
        for _, number in sorted(due):
            self.end(number)

    def ring(self) -> None:
        for bell in self.bells:
            bell.ring()

    def _write(self, write: Put | Delete, revision: int) -> Change:
        old = self.items.pop(write.key, None)
        if old is not None and old.lease:
            self.leases[old.lease].keys.discard(write.key)
        if isinstance(write, Delete):
            return Change(write.key, None, revision)
        self.items[write.key] = Item(write.key, write.value, revision, write.lease)
        if write.lease:
            self.leases[write.lease].keys.add(write.key)
        return Change(write.key, write.value, revision)

    def _at(self, revision: int) -> int:
        return bisect_left(self._history, revision, key=lambda changes: changes.revision)

    def _trim(self) -> None:
        """Forgets whole transactions until no more than the limit is left, but never the last one."""
        surplus = self._kept - self._limit
        for changes in self._history:
            if surplus <= 0 or changes.revision == self.revision:
                break
            surplus -= len(changes.changes)
        self.forget(changes.revision)


class MemoryStore:
    """A handle to a `Memory`; without one, to a new one of its own."""

    def __init__(self, memory: Memory | None = None, url: str = "memory:") -> None:
        self._memory = memory or Memory()
        self._url = url
        self._bell = Bell()
        self._memory.bells.add(self._bell)

    @property
    def url(self) -> str:
        return self._url

    async def snapshot(self, prefixes: Sequence[Prefix] = ("",)) -> Snapshot:
        memory = self._current()
        wanted = Prefixes(prefixes)
        items = (memory.items[key] for key in sorted(memory.items) if key in wanted)
        return Snapshot(memory.revision, tuple(items))

    def watch(self, prefixes: Sequence[Prefix], revision: int) -> Watch:
        self._current()
        wanted = Prefixes(prefixes)
        return Watch(self._bell, lambda since: self._changes(wanted, since), self._patience, revision)

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        memory = self._current()
        check_transaction(compares, writes)
        for compare in compares:
            item = memory.items.get(compare.key)
            if compare.revision != (item.revision if item else 0):
                return Outcome(False, memory.revision)
        for write in writes:
            if isinstance(write, Put) and write.lease and write.lease not in memory.leases:
                raise LeaseLost(write.lease)
        memory.write(writes)
        return Outcome(True, memory.revision)

    async def grant(self, ttl: float) -> int:
        check_ttl(ttl)
        return self._current().grant(ttl)

    async def keep_alive(self, lease: int) -> None:
        memory = self._current()
        if lease not in memory.leases:
            raise LeaseLost(lease)
        memory.leases[lease].deadline = memory.clock() + memory.leases[lease].ttl

    async def revoke(self, lease: int) -> None:
        self._current().end(lease)

    async def compact(self, revision: int) -> None:
        memory = self._current()
        check_compaction(revision, memory.revision)
        memory.forget(revision)

    async def close(self) -> None:
        self._bell.close()
        self._memory.bells.discard(self._bell)

    def _current(self) -> Memory:
        """What is stored, without what has expired."""
        if self._bell.closed:
            raise closed(self._url)
        self._memory.expire()
        return self._memory

    def _changes(self, wanted: Prefixes, since: int) -> tuple[list[Changes], int]:
        history = self._current().history(since)
        kept = []
        for changes in history:
            inside = tuple(change for change in changes.changes if change.key in wanted)
            if inside:
                kept.append(Changes(changes.revision, inside))
        return kept, history[-1].revision + 1 if history else since

    def _patience(self) -> float:
        now = self._memory.clock()
        return min([SAFETY_POLL, *(lease.deadline - now for lease in self._memory.leases.values())])


_shared: WeakValueDictionary[str, Memory] = WeakValueDictionary()
"""Named memories of this process, as long as someone has them open; a module's variable because a name is global."""


def shared(name: str) -> Memory:
    """The memory of that name in this process, made if nobody has it open."""
    memory = _shared.get(name)
    if memory is None:
        memory = _shared[name] = Memory()
    return memory
