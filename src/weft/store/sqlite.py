"""The store in one sqlite file, for every process of one machine.

A write is one `BEGIN IMMEDIATE` transaction: leases that are due end first, then comparisons, writes, and the same
changes into `history`, from which watches read. After the commit the writer rings the file (`inotify`), and the watches
of all processes read on from where they stand.

Durability: `synchronous = FULL`. In WAL mode NORMAL would survive a crash of any process, but a power cut could take
back the last transactions; what `weft apply` has called stored must stay stored. Only what need not be durable and the
clockwork of leases (grant, keep alive, expiry) go without fsync: a power cut is a reboot, and that ends every lease.

The file may be replaced (restored from a copy) or damaged under us: one call says so (UNREACHABLE, or what sqlite
says), and the next one opens what stands at the path then, never making a new one. A watch of before ends with it.

Calls are `async` for the interface's sake and run sqlite inline: they take well under a millisecond plus the fsync, and
no task of this process can come between BEGIN and COMMIT.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import groupby
from operator import itemgetter

from weft.model.errors import WeftError
from weft.store.check import check_compaction, check_transaction, check_ttl, closed
from weft.store.clock import Clock, boot_id, boottime
from weft.store.fault import faults, is_damage, replaced, system_fault
from weft.store.inotify import FileBell, ring_file
from weft.store.prefix import Prefixes
from weft.store.schema import open_database
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
from weft.store.watch import BATCH, Watch

HISTORY = 200_000
"""Changes kept for watches, at least, before the oldest are forgotten unasked."""

_MANY = 1000
"""Items in a snapshot after which the pages that sqlite keeps of them are given back."""

_DUE = "boot != ? OR deadline <= ?"


class SqliteStore:
    """A handle to the store at `path` (absolute), with one connection; for one event loop.

    `clock` and `boot` are what leases run by, `history` how many changes to keep for watches.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Clock = boottime,
        boot: str | None = None,
        history: int = HISTORY,
        create: bool = True,
    ) -> None:
        self._path = path
        self._clock = clock
        self._boot = boot_id() if boot is None else boot
        self._limit = history
        self._database = open_database(path, create=create)
        self._files = _identities(path)
        self._generation = 0  # how often the file was opened anew
        self._damaged = False  # what we have in memory is not to be trusted either
        self._told = False  # somebody was told that the files were moved
        self._bell: FileBell | None = None
        self._closed = False
        self._synced: bool | None = None

    @property
    def url(self) -> str:
        return f"sqlite://{self._path}"

    async def snapshot(self, prefixes: Sequence[Prefix] = ("",)) -> Snapshot:
        wanted = Prefixes(prefixes)
        self._expire()
        items: list[Item] = []
        with self._reading() as database:
            revision, _ = _state(database)
            for first, end in wanted.ranges():
                below = "" if end is None else " AND key < ?"
                rows = database.execute(
                    f"SELECT key, value, revision, lease FROM item WHERE key >= ?{below} ORDER BY key",
                    (first,) if end is None else (first, end),
                )
                items.extend(Item(*row) for row in rows)
            if len(items) > _MANY:
                database.execute("PRAGMA shrink_memory")  # pages that were read once are not needed again
        return Snapshot(revision, tuple(items))

    def watch(self, prefixes: Sequence[Prefix], revision: int) -> Watch:
        self._check()
        wanted = Prefixes(prefixes)
        if self._bell is None:
            self._bell = FileBell(self._path)
        generation = self._generation
        return Watch(self._bell, lambda since: self._changes(wanted, since, generation), self._patience, revision)

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        check_transaction(compares, writes)
        with self._writing(durable=durable) as database:
            for compare in compares:
                row = database.execute("SELECT revision FROM item WHERE key = ?", (compare.key,)).fetchone()
                if compare.revision != (row[0] if row else 0):
                    return Outcome(False, _state(database)[0])
            for lease in {write.lease for write in writes if isinstance(write, Put) and write.lease}:
                _require(database, lease)
            return Outcome(True, self._write(database, writes))

    async def grant(self, ttl: float) -> int:
        check_ttl(ttl)
        with self._writing(durable=False) as database:
            lease = database.execute(
                "INSERT INTO lease (ttl, boot, deadline) VALUES (?, ?, ?)", (ttl, self._boot, self._clock() + ttl)
            ).lastrowid
        # Nobody needs to be woken: the first put on it does that, and sleepers then learn when it ends.
        assert lease is not None
        return lease

    async def keep_alive(self, lease: int) -> None:
        with self._writing(durable=False) as database:
            _require(database, lease)
            database.execute("UPDATE lease SET deadline = ? + ttl WHERE id = ?", (self._clock(), lease))

    async def revoke(self, lease: int) -> None:
        with self._writing() as database:
            self._end(database, lease)

    async def compact(self, revision: int) -> None:
        with self._writing() as database:
            check_compaction(revision, _state(database)[0])
            _forget(database, revision)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._bell is not None:
            self._bell.close()
        with faults(self._path):
            self._database.close()

    # -- reading --------------------------------------------------------------------------------------------------

    def _changes(self, wanted: Prefixes, since: int, generation: int) -> tuple[list[Changes], int]:
        """Whole transactions from `since` on, about `BATCH` changes of them, and where to read on."""
        with self._reading() as database:
            if generation != self._generation:
                raise replaced(self._path, gone=False)
            if not self._is_due(database):
                return _since(database, wanted, since)
        self._expire()
        with self._reading() as database:
            return _since(database, wanted, since)

    def _patience(self) -> float:
        """Seconds until a watch has to look by itself: when the next lease ends, or to be safe."""
        assert self._bell is not None
        with self._reading() as database:
            (deadline,) = database.execute("SELECT min(deadline) FROM lease").fetchone()
        return self._bell.poll if deadline is None else min(self._bell.poll, max(0.0, deadline - self._clock()))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Everything read inside is of one moment."""
        self._check()
        with self._faults():
            self._database.execute("BEGIN")
            try:
                yield self._database
            finally:
                self._rollback()

    # -- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction, from which leases that are due are gone; an error inside takes everything back."""
        self._check()
        with self._faults():
            if self._synced is not durable:
                self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._synced = durable
            self._database.execute("BEGIN IMMEDIATE")
            try:
                before, _ = _state(self._database)
                for (lease,) in self._database.execute(
                    f"SELECT id FROM lease WHERE {_DUE} ORDER BY deadline, id", (self._boot, self._clock())
                ).fetchall():
                    self._end(self._database, lease)
                yield self._database
                after, _ = _state(self._database)
                self._database.execute("COMMIT")
            finally:
                self._rollback()
        if after != before:
            ring_file(self._path)

    def _rollback(self) -> None:
        """Ends a transaction that is still open."""
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")

    def _write(self, database: sqlite3.Connection, writes: Sequence[Put | Delete]) -> int:
        """Writes items and history; the revision after."""
        revision, _ = _state(database)
        revision += 1
        puts = [(revision, write.key, write.value, write.lease) for write in writes if isinstance(write, Put)]
        gone = {
            write.key
            for write in writes
            if isinstance(write, Delete)
            and database.execute("SELECT 1 FROM item WHERE key = ?", (write.key,)).fetchone()
        }
        if not puts and not gone:
            return revision - 1
        database.execute("UPDATE state SET revision = ?", (revision,))
        database.executemany("REPLACE INTO item (revision, key, value, lease) VALUES (?, ?, ?, ?)", puts)
        database.executemany("DELETE FROM item WHERE key = ?", ((key,) for key in gone))
        database.executemany(
            "INSERT INTO history (revision, key, value) VALUES (?, ?, ?)",
            (
                (revision, write.key, write.value if isinstance(write, Put) else None)
                for write in writes
                if isinstance(write, Put) or write.key in gone
            ),
        )
        self._trim(database)
        return revision

    def _end(self, database: sqlite3.Connection, lease: int) -> None:
        """Ends a lease, and deletes what is attached."""
        keys = database.execute("SELECT key FROM item WHERE lease = ? AND lease != 0 ORDER BY key", (lease,)).fetchall()
        self._write(database, [Delete(key) for (key,) in keys])
        database.execute("DELETE FROM lease WHERE id = ?", (lease,))

    def _expire(self) -> None:
        """Ends the leases that are due, if there are any."""
        with self._reading() as database:
            due = self._is_due(database)
        if due:
            with self._writing(durable=False):
                pass  # opening it was all

    def _is_due(self, database: sqlite3.Connection) -> bool:
        query = f"SELECT 1 FROM lease WHERE {_DUE} LIMIT 1"
        return database.execute(query, (self._boot, self._clock())).fetchone() is not None

    def _trim(self, database: sqlite3.Connection) -> None:
        """Forgets whole transactions once history holds twice its limit, so that this is rare."""
        first, last = database.execute(
            "SELECT (SELECT min(seq) FROM history), (SELECT max(seq) FROM history)"
        ).fetchone()
        if last - first >= 2 * self._limit:
            (oldest,) = database.execute("SELECT revision FROM history WHERE seq = ?", (last - self._limit,)).fetchone()
            _forget(database, oldest)

    # -- the file -------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """The handle is open, and its files are still those at its path: nothing is written into an unlinked one."""
        if self._closed:
            raise closed(self.url)
        moved = [(file, found) for file, was in self._files.items() if (found := _standing(file)) != was]
        if not moved and not self._damaged:
            self._told = False
        elif (self._told or self._damaged) and os.path.exists(self._path) and os.path.getsize(self._path):
            self._renew()
        else:
            self._told = True
            file, found = moved[0] if moved else (self._path, None)
            raise replaced(file, gone=found is None)

    def _renew(self) -> None:
        """Opens what stands at the path now."""
        with suppress(sqlite3.Error):
            self._database.close()
        self._database = open_database(self._path)
        self._files = _identities(self._path)
        self._synced, self._damaged, self._told = None, False, False
        self._generation += 1
        if self._bell is not None:
            self._bell.retire()
            self._bell = None

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            with faults(self._path):
                yield
        except WeftError as error:
            self._damaged |= isinstance(error.__cause__, sqlite3.Error) and is_damage(error.__cause__)
            raise


def _standing(file: str) -> tuple[int, int] | None:
    """Which file stands at the path: device and inode; None where there is none."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise system_fault(file, error) from error
    return found.st_dev, found.st_ino


def _identities(path: str) -> dict[str, tuple[int, int] | None]:
    """Of the store, its log and the log's index, all of which an open connection has."""
    return {file: _standing(file) for file in (path, f"{path}-wal", f"{path}-shm")}


_HISTORY = """
SELECT revision, key, value FROM history
WHERE seq >= (SELECT seq FROM history WHERE revision >= ? ORDER BY revision, seq LIMIT 1) ORDER BY seq
"""


def _state(database: sqlite3.Connection) -> tuple[int, int]:
    """The current revision, and the oldest in history."""
    revision, oldest = database.execute("SELECT revision, oldest FROM state").fetchone()
    return revision, oldest


def _since(database: sqlite3.Connection, wanted: Prefixes, since: int) -> tuple[list[Changes], int]:
    revision, oldest = _state(database)
    if since < oldest:
        raise Compacted(oldest)
    if since > revision:
        return [], since
    found: list[Changes] = []
    read = 0
    # Closed early, because a statement that is still open holds its snapshot, and so the log, beyond ROLLBACK.
    with closing(database.execute(_HISTORY, (since,))) as rows:
        for at, group in groupby(rows, key=itemgetter(0)):
            seen = [(key, value) for _, key, value in group]
            inside = tuple(Change(key, value, at) for key, value in seen if key in wanted)
            if inside:
                found.append(Changes(at, inside))
            read += len(seen)
            if read >= BATCH:
                return found, at + 1
    return found, revision + 1


def _require(database: sqlite3.Connection, lease: int) -> None:
    if database.execute("SELECT 1 FROM lease WHERE id = ?", (lease,)).fetchone() is None:
        raise LeaseLost(lease)


def _forget(database: sqlite3.Connection, oldest: int) -> None:
    """History then starts at `oldest`, if it does not start later already."""
    database.execute("DELETE FROM history WHERE revision < ?", (oldest,))
    database.execute("UPDATE state SET oldest = max(oldest, ?)", (oldest,))
