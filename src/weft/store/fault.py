"""What sqlite says when it cannot, as our errors: path, reason, remedy.

https://sqlite.org/rescode.html. The low byte of an extended code is its primary code.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from weft.model.errors import Kind, WeftError

_FAULTS: dict[int, tuple[Kind, str, str]] = {
    sqlite3.SQLITE_BUSY: (Kind.UNREACHABLE, "another process keeps the store locked", "find it with `fuser`, or wait"),
    sqlite3.SQLITE_LOCKED: (
        Kind.UNREACHABLE,
        "another process keeps the store locked",
        "find it with `fuser`, or wait",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        Kind.UNREACHABLE,
        "the store cannot be opened",
        "check that the file exists and that you may write it and its directory",
    ),
    sqlite3.SQLITE_PERM: (Kind.UNREACHABLE, "no permission", "check who owns the file and its directory"),
    sqlite3.SQLITE_READONLY: (
        Kind.UNREACHABLE,
        "no permission to write",
        "check who owns the file and its directory, and that the file system is not mounted read-only",
    ),
    sqlite3.SQLITE_FULL: (Kind.FAILED, "no space left; nothing of this was written", "free some space and try again"),
    sqlite3.SQLITE_IOERR: (
        Kind.FAILED,
        "reading or writing failed; nothing of this was written",
        "check free space, the disk and the kernel log",
    ),
    sqlite3.SQLITE_CORRUPT: (
        Kind.FAILED,
        "the file is damaged",
        "restore it from a copy, or move it away and apply anew",
    ),
    sqlite3.SQLITE_NOTADB: (Kind.FAILED, "not a store of weft", "choose another path, or move the file away"),
}


@contextmanager
def faults(path: str) -> Iterator[None]:
    """Turns sqlite's errors inside the block into `WeftError`s about `path`."""
    try:
        yield
    except sqlite3.Error as error:
        raise fault(path, error) from error


def fault(path: str, error: sqlite3.Error) -> WeftError:
    # Errors of the Python module itself carry no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind, what, remedy = _FAULTS.get(
        code & 0xFF, (Kind.FAILED, "sqlite failed", "check that the file was made by this version of weft")
    )
    return WeftError(kind, f"{what} ({name}: {error})", where=path, remedy=remedy)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file's content is wrong: it must be opened anew once it has been put right."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def system_fault(path: str, error: OSError) -> WeftError:
    """The same for what the operating system says of a path."""
    reason = error.strerror or str(error)
    return WeftError(
        Kind.UNREACHABLE,
        f"the store cannot be opened ({reason})",
        where=path,
        remedy="check that its directory exists and that you may write there",
    )


def replaced(path: str, *, gone: bool) -> WeftError:
    """The file we have open (store, log or the log's index) is not at its path any more: a write would be lost."""
    what = "removed" if gone else "replaced by another file"
    return WeftError(
        Kind.UNREACHABLE,
        f"the store's file was {what} while in use",
        where=path,
        remedy="put it back: an agent then goes on by itself",
    )
