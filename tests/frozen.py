"""Processes that hang, as far as those who ask them can tell."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

PATIENCE = 30.0
"""Seconds; a process on a crowded machine takes a while to stop."""


def freeze(pid: int) -> None:
    """Stops a process: no thread of it runs any more when this returns.

    A signal alone does not promise that: a thread that is awake goes on until the one that took the signal has stopped
    the others (kernel/signal.c, do_signal_stop).
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while not _stands(pid):
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        time.sleep(0.001)


def thaw(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def _stands(pid: int) -> bool:
    try:
        stats = [task.joinpath("stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:  # a thread ended
        return False
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)
