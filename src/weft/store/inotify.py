"""A bell that other processes ring: inotify(7) on one file, IN_ATTRIB.

Writers ring by setting the file's times after they have committed. The -wal file itself would wake too early: it is
written before the fsync, and what is in it counts for readers only after that. A removed or replaced file rings as
well (its link count changes), so that a watch reports it at once.

inotify_add_watch opens no descriptor on the file; opening and closing it ourselves would drop sqlite's POSIX locks.
"""

from __future__ import annotations

import asyncio
import ctypes
import os

from weft.store.watch import SAFETY_POLL, Bell

# linux/inotify.h
IN_ATTRIB = 0x004
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800

FALLBACK_POLL = 0.04
"""Seconds between looks where the kernel gives us no inotify (fs.inotify.max_user_instances is 128 a user)."""


class FileBell(Bell):
    """Rings when someone rings `path`; `poll` is how long a sleeper may rely on that, in seconds."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd = _watch_file(path)
        self.poll = SAFETY_POLL if self._fd >= 0 else FALLBACK_POLL

    async def wait(self, seconds: float) -> None:
        # The loop knows our descriptor only while someone waits. Rings meanwhile stay in the kernel's queue, where
        # equal ones in a row are one.
        if self._loop is None and self._fd >= 0:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._fd, self._rung)
        try:
            await super().wait(seconds)
        finally:
            if not self._waiting:
                self._detach()

    def close(self) -> None:
        super().close()
        self.retire()

    def retire(self) -> None:
        """The file is another one now: wakes everybody, who will see that, and listens no more."""
        self.ring()
        self._detach()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rung(self) -> None:
        try:
            os.read(self._fd, 4096)
        except BlockingIOError:
            return
        self.ring()

    def _detach(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._fd)
            self._loop = None


def ring_file(path: str) -> None:
    """Wakes every `FileBell` on `path`, in any process; failing to is made good by their polls."""
    try:
        os.utime(path)
    except OSError:
        pass


def _watch_file(path: str) -> int:
    """An inotify descriptor on `path`, or -1 where there is none to be had."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        return -1
    if libc.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)) < 0:
        os.close(fd)
        return -1
    return fd
