"""One agent per node on a host: a file lock, which the kernel lets go of when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from weft.model.errors import Kind, WeftError


class NodeLock:
    """Held from construction until `close`. Raises REFUSED, naming the holder's pid, where another agent has it."""

    def __init__(self, directory: Path, cluster: str, node: str) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / f"{cluster}.{node}.lock"
        self._file = open(path, "a+")  # noqa: SIM115 - held for the agent's life
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "?"
            self._file.close()
            raise WeftError(
                Kind.REFUSED,
                f"an agent of node {node} runs here already (pid {holder})",
                remedy=f"stop it first, or give this one another --node; the lock is {path}",
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
