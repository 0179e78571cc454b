"""Pid files: a process is its pid and its start time."""

from __future__ import annotations

import subprocess
from pathlib import Path

from weft.lab import process


def test_a_process_is_told_from_another_one_with_its_pid(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        path = tmp_path / "x.pid"
        process.write(path, child.pid)
        found = process.read(path)
        assert found
        assert process.alive(found)
        impostor = found._replace(started=found.started + 1)
        process.stop([impostor])
        assert child.poll() is None, "a process with another start time must not be signalled"
        process.stop([found])
        assert not process.alive(found)


def test_a_process_that_does_not_listen_is_killed() -> None:
    with subprocess.Popen(["sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done"], stdout=-1) as child:
        assert child.stdout
        child.stdout.readline()
        found = process.of(child.pid)
        assert found
        process.stop([found], patience=0.2)
        assert not process.alive(found)


def test_pid_files_that_say_nothing(tmp_path: Path) -> None:
    assert process.read(tmp_path / "none.pid") is None
    (tmp_path / "bad.pid").write_text("half\n")
    assert process.read(tmp_path / "bad.pid") is None
