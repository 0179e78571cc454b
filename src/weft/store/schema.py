"""The sqlite file: making one, knowing our own, and what is in it.

`PRAGMA application_id` says that a file is ours, `user_version` which tables to expect. A file that is neither ours nor
empty is left as it is.

    item     what is stored now, clustered by key: a prefix is one range
    history  every change since `state.oldest`, in order; value NULL: deleted
    lease    deadline in seconds of CLOCK_BOOTTIME of the boot named; ids are never used twice
    state    one row: the current revision, and the oldest that a watch can start from
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from weft.model.errors import Kind, WeftError
from weft.store.fault import faults, system_fault

APPLICATION_ID = 0x77656674  # "weft"
VERSION = 1
BUSY_TIMEOUT = 5.0
"""Seconds to wait for other writers; each holds the file for one transaction, which is milliseconds."""

TABLES = """
CREATE TABLE item (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL, lease INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX item_lease ON item (lease) WHERE lease != 0;
CREATE TABLE history (seq INTEGER PRIMARY KEY, revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB);
CREATE INDEX history_revision ON history (revision);
CREATE TABLE lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ttl REAL NOT NULL, boot TEXT NOT NULL, deadline REAL NOT NULL
);
CREATE TABLE state (revision INTEGER NOT NULL, oldest INTEGER NOT NULL);
INSERT INTO state VALUES (1, 1);
"""


def open_database(path: str, *, create: bool = True) -> sqlite3.Connection:
    """A connection to the store at `path`; with `create` made if it is not there: file 0600, missing directories 0700.

    Without it, UNREACHABLE where there is none: who only reads must not make an empty store out of a typing error.
    """
    try:
        if create:
            _make_file(Path(path))
        else:
            os.stat(path)
    except FileNotFoundError:
        what = "there is no store at this path"
        remedy = "if there was one, put it back; else name another by --store, or let `weft apply` make a new fleet's"
        raise WeftError(Kind.UNREACHABLE, what, where=path, remedy=remedy) from None
    except OSError as error:
        raise system_fault(path, error) from error
    with faults(path):
        # mode=rw: a file that vanishes now is an error, not a new empty store.
        database = sqlite3.connect(
            f"file:{quote(path)}?mode=rw", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, cached_statements=64
        )
        try:
            _prepare(database, path)
        except BaseException:
            database.close()
            raise
    return database


def _make_file(path: Path) -> None:
    missing = [directory for directory in path.parents if not directory.exists()]
    for directory in reversed(missing):
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:  # another process was faster
            continue
        _sync(directory.parent)
    try:
        # mknod opens nothing: closing a descriptor of our own would drop the locks of sqlite's.
        os.mknod(path, 0o600)
    except FileExistsError:
        return
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Puts the directory's entries on the disk: what is committed later must not lack its file after a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _prepare(database: sqlite3.Connection, path: str) -> None:
    database.execute("BEGIN")  # one look: another process may be making the tables just now
    new = _is_new(database, path)
    database.execute("COMMIT")
    if new:
        _use_wal(database)
        database.execute("BEGIN IMMEDIATE")
        if _is_new(database, path):  # still: another process may have been faster
            for statement in TABLES.strip().split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    _use_wal(database)
    # Reading also makes the log and its index, which then stay as long as the connection does.
    if _number(database, "SELECT count(*) FROM state") != 1:
        raise WeftError(
            Kind.FAILED,
            "the file is damaged (no revision)",
            where=path,
            remedy="restore it from a copy, or move it away",
        )


def _is_new(database: sqlite3.Connection, path: str) -> bool:
    """Whether the file is empty; raises for one that is not ours or of a newer weft. To be asked in a transaction."""
    identity = _number(database, "PRAGMA application_id")
    version = _number(database, "PRAGMA user_version")
    if identity == 0 and version == 0 and _number(database, "SELECT count(*) FROM sqlite_master") == 0:
        return True
    if identity != APPLICATION_ID:
        raise WeftError(
            Kind.FAILED,
            "not a store of weft (a database of another program)",
            where=path,
            remedy="choose another path, or move the file away",
        )
    if version != VERSION:
        raise WeftError(
            Kind.FAILED,
            f"the store has format {version}, this weft knows {VERSION}",
            where=path,
            remedy="use the weft that made it, or choose another path",
        )
    return False


def _use_wal(database: sqlite3.Connection) -> None:
    """Write-ahead log: readers and a writer do not wait for each other."""
    patience = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # Changing the mode does not wait for others as other statements do.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            time.sleep(0.005)


def _number(database: sqlite3.Connection, statement: str) -> int:
    return int(database.execute(statement).fetchone()[0])
