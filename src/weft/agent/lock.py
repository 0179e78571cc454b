"""One agent per node, and one per host: file locks, which the kernel lets go of when their holder ends, in any way.

A holder takes its file along when it ends. One that is killed leaves a file behind, which locks nothing: the next
holder takes it over. Whoever has locked a file looks whether it still stands at its path, since the one before may have
removed it between opening and locking.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from weft.model.errors import Kind, WeftError


class FileLock:
    """Held from construction until `close`. Raises what `refused` makes of the holder's pid where another has it, and
    FAILED where the file cannot be made."""

    def __init__(self, path: Path, refused: Callable[[str], WeftError]) -> None:
        self._path = path
        while True:
            self._file = _opened(path)
            self._lock(refused)
            if _stands(self._file, self._path):
                break
            self._file.close()
        with contextlib.suppress(OSError):  # the pid is for people; a full disk is no reason to do without the lock
            self._file.truncate(0)
            os.write(self._file.fileno(), str(os.getpid()).encode())

    def _lock(self, refused: Callable[[str], WeftError]) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "?"
            self._file.close()
            raise refused(holder) from None

    def close(self) -> None:
        if not self._file.closed and _stands(self._file, self._path):
            self._path.unlink(missing_ok=True)
        self._file.close()


class NodeLock(FileLock):
    """Of one node's agent. Raises REFUSED, naming the holder's pid, where another agent has it."""

    def __init__(self, directory: Path, cluster: str, node: str) -> None:
        path = directory / f"{cluster}.{node}.lock"

        def refused(pid: str) -> WeftError:
            what = f"an agent of node {node} runs here already (pid {pid})"
            remedy = f"stop it first, or give this one another --node; the lock is {path}"
            return WeftError(Kind.REFUSED, what, remedy=remedy)

        super().__init__(path, refused)


class HostLock(FileLock):
    """Of the caller's network namespace: all that is a cluster's there is one agent's, and another node's
    would take it down. Raises REFUSED, naming the holder's pid, where another agent has it."""

    def __init__(self, directory: Path, cluster: str) -> None:
        path = directory / f"{cluster}@{os.stat('/proc/thread-self/ns/net').st_ino}.lock"

        def refused(pid: str) -> WeftError:
            what = f"an agent of another node of cluster {cluster} runs on this host already (pid {pid})"
            return WeftError(Kind.REFUSED, what, remedy=f"stop it first: a host is one node; the lock is {path}")

        super().__init__(path, refused)


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open(path, "a+")
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        remedy = "free some space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
        raise WeftError(Kind.FAILED, f"the lock cannot be made: {words}", where=str(path), remedy=remedy) from error


def _stands(file: IO[str], path: Path) -> bool:
    """Whether this open file is the one at the path."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(file.fileno())
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
