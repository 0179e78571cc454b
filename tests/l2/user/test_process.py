"""Finding and replacing a forwarder that was killed, of which the kernel still holds what it had."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import socket
import threading
from pathlib import Path

import pytest

from weft.l2.user import process
from weft.l2.user.saying import Lossy
from weft.model.errors import WeftError


def held(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def test_one_that_was_killed_is_not_connected_to_though_it_still_listens(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("7\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        assert process.connect(tmp_path) is None


def test_its_successor_waits_until_nothing_is_left_of_it(tmp_path: Path) -> None:
    left = held(tmp_path / "workers")
    ending = threading.Timer(0.1, os.close, (left,))
    ending.start()
    os.close(process.workers(tmp_path))
    ending.join()


def test_what_never_ends_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = held(tmp_path / "workers")
    monkeypatch.setattr(process, "_REMOVAL", 0.05)
    with pytest.raises(TimeoutError, match=f"do not end: see fuser {tmp_path}/workers"):
        process.workers(tmp_path)
    os.close(left)


def test_nobody_but_a_worker_is_ended_for_having_the_file_open(tmp_path: Path) -> None:
    left = held(tmp_path / "workers")
    process._end_workers(tmp_path / "workers")  # it is open in this process
    os.close(left)


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    place = tmp_path / "here"
    place.mkdir()
    (place / "log").symlink_to("/dev/full")
    with pytest.raises(WeftError, match=f"cannot write {place}/log: no space left on device") as full:
        process.start(place, "default", None, 1)
    assert full.value.remedy == f"make room there, see: df -h {place}; df -i {place}"
    with pytest.raises(WeftError, match=f"cannot write {place}/log/below: not a directory"):
        process.start(place / "log" / "below", "default", None, 1)


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")


def test_what_cannot_be_said_is_lost_and_nothing_else() -> None:
    for stream, said in ((Full(), ""), (io.StringIO(), "a worker ended\n")):
        print("a worker ended", file=Lossy(stream), flush=True)
        assert stream.getvalue() == said
