"""One daemon for a network, a device and a subnet file on each host, by file locks that end with their holder.

    <run>/flannel/<inode of the host's network namespace>.prefix.<etcd prefix>.lock        held from the start
    <run>/flannel/<inode of the host's network namespace>.device.<device>.lock             once etcd has told which
    <directory of the subnet file>/weft.<subnet file>.lock

Two of one network would take the same lease and device, and the end of one would give back what the other lives by.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

from weft.agent.local import default_directory
from weft.agent.lock import FileLock
from weft.model.errors import Kind, WeftError
from weft.netlink.namespace import OWN, Namespace, entered

_WORDS = {"prefix": "etcd prefix", "device": "device"}


class Locks:
    """What a daemon, or a cleanup, holds until `close`. Raises REFUSED, naming the pid of who has it; FAILED where no
    lock can be made."""

    def __init__(self, namespace: Namespace = None, directory: Path | None = None) -> None:
        self._directory = directory or default_directory() / "flannel"
        with entered(namespace):
            self._host = os.stat(OWN).st_ino
        self._held: list[FileLock] = []

    def prefix(self, prefix: str) -> None:
        """The network whose keys stand below `prefix`."""
        self._hold("prefix", f"/{prefix.strip('/')}")

    def device(self, name: str) -> None:
        self._hold("device", name)

    def subnet_file(self, file: Path) -> None:
        def refused(pid: str) -> WeftError:
            what = f"weft flannel runs here already with this subnet file (pid {pid})"
            return WeftError(Kind.REFUSED, what, where=str(file), remedy="stop it first")

        try:
            file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)  # who starts containers reads the file there
            self._held.append(FileLock(file.parent / f"weft.{file.name}.lock", refused))
        except OSError as error:
            what = f"cannot write there: {_why(error)}"
            remedy = "give -subnet-file another"
            raise WeftError(Kind.FAILED, what, where=f"subnet file {file}", remedy=remedy) from None

    def everything(self) -> None:
        """All that any daemon of this host may hold: none runs then."""
        for path in sorted(self._directory.glob(f"{self._host}.*.lock")):
            _, kind, name = path.name.removesuffix(".lock").split(".", 2)
            self._hold(kind, unquote(name))

    def close(self) -> None:
        while self._held:
            self._held.pop().close()

    def _hold(self, kind: str, name: str) -> None:
        path = self._directory / f"{self._host}.{kind}.{quote(name, safe='')}.lock"

        def refused(pid: str) -> WeftError:
            what = f"weft flannel runs on this host already (pid {pid}), with the {_WORDS[kind]} {name}"
            return WeftError(Kind.REFUSED, what, remedy=f"stop it first; the lock is {path}")

        try:
            self._directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # sockets of agents stand there
            self._held.append(FileLock(path, refused))
        except OSError as error:
            what = f"cannot make the lock: {_why(error)}"
            raise WeftError(Kind.FAILED, what, where=str(path), remedy="make its directory writable") from None


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
