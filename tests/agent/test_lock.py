"""One agent per node: by a lock that ends with its holder and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from weft.agent import lock
from weft.agent.lock import HostLock, NodeLock
from weft.model.errors import WeftError

KILLED = """
import os, sys
from pathlib import Path
from weft.agent.lock import NodeLock
NodeLock(Path(sys.argv[1]), "default", "h1")
os.kill(os.getpid(), 9)
"""


def test_a_second_holder_is_refused_and_names_the_first(tmp_path: Path) -> None:
    first = NodeLock(tmp_path, "default", "h1")
    other = NodeLock(tmp_path, "default", "h2")
    with pytest.raises(WeftError, match=f"an agent of node h1 runs here already .pid {os.getpid()}."):
        NodeLock(tmp_path, "default", "h1")
    first.close()
    NodeLock(tmp_path, "default", "h1").close()
    other.close()
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_a_host_is_one_nodes(tmp_path: Path) -> None:
    first = HostLock(tmp_path, "default")
    other = HostLock(tmp_path, "other")
    with pytest.raises(WeftError, match=f"of cluster default runs on this host already .pid {os.getpid()}."):
        HostLock(tmp_path, "default")
    first.close()
    HostLock(tmp_path, "default").close()
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_takes_no_lock_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    held = NodeLock(tmp_path, "default", "h1")
    with pytest.raises(WeftError, match="runs here already"):
        NodeLock(tmp_path, "default", "h1")
    held.close()


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeftError, match=r"file/default\.h1\.lock: the lock cannot be made: .*; make it writable"):
        NodeLock(tmp_path / "file", "default", "h1")


def test_a_killed_holders_file_locks_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, env=environment)
    assert [path.name for path in tmp_path.iterdir()] == ["default.h1.lock"]
    NodeLock(tmp_path, "default", "h1").close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_went_between_opening_and_locking_is_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = NodeLock(tmp_path, "default", "h1")
    flock, rounds = lock.fcntl.flock, []

    def late(file: object, how: int) -> None:
        rounds.append(file)
        before.close()  # its holder ends just now, and takes the file along
        flock(file, how)  # type: ignore[call-overload]

    monkeypatch.setattr(lock.fcntl, "flock", late)
    after = NodeLock(tmp_path, "default", "h1")
    assert len(rounds) == 2
    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with pytest.raises(WeftError, match="runs here already"):
        NodeLock(tmp_path, "default", "h1")
    after.close()
