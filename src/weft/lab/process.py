"""Processes by pid file: pid and start time together name one process for ever, so a recycled pid is never signalled.

The start time is field 22 of /proc/<pid>/stat, in clock ticks since boot; proc(5).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    pid: int
    started: int


def of(pid: int) -> Process | None:
    """None: there is no such process, or only its remains wait to be collected."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]))


def alive(process: Process) -> bool:
    return of(process.pid) == process


def write(path: Path, pid: int) -> None:
    found = of(pid)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(f"{pid} {found.started if found else 0}\n")
    fresh.rename(path)


def read(path: Path) -> Process | None:
    """None where there is no such file, or it does not say."""
    try:
        pid, started = path.read_text().split()
        return Process(int(pid), int(started))
    except (FileNotFoundError, ValueError):
        return None


def stop(processes: Iterable[Process], patience: float = 5.0) -> None:
    """SIGTERM, then, for what still lives after `patience` seconds, SIGKILL; returns once all are gone."""
    left = [process for process in processes if _signal(process, signal.SIGTERM)]
    deadline = time.monotonic() + patience
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = [process for process in left if _running(process)]
    for process in left:
        _signal(process, signal.SIGKILL)
    deadline = time.monotonic() + patience
    while any(_running(process) for process in left) and time.monotonic() < deadline:
        time.sleep(0.01)


def inside(namespaces: Iterable[Path], kind: str = "net") -> list[Process]:
    """Processes that stand in one of these namespaces of a kind, leaving out this one and its ancestors."""
    wanted = {(found.st_dev, found.st_ino) for found in map(_stat, namespaces) if found}
    spared = _ancestors()
    result = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in spared:
            continue
        found = _stat(Path(entry.path, "ns", kind))
        if found and (found.st_dev, found.st_ino) in wanted and (process := of(int(entry.name))):
            result.append(process)
    return result


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # gone meanwhile, or not ours to see
        return None


def _ancestors() -> set[int]:
    pids, pid = set(), os.getpid()
    while pid:
        pids.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            break
    return pids


def _running(process: Process) -> bool:
    try:
        os.waitpid(process.pid, os.WNOHANG)  # collects it, where it is a child of ours
    except ChildProcessError:
        pass
    return alive(process)


def _signal(process: Process, number: signal.Signals) -> bool:
    if not alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True
