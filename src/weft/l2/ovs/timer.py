"""A timer as a file descriptor (timerfd_create(2)), which Python's os module has from 3.13 on only."""

from __future__ import annotations

import ctypes
import os
import struct

_CLOCK_MONOTONIC, _TFD_NONBLOCK, _TFD_CLOEXEC = 1, 0o4000, 0o2000000
_libc = ctypes.CDLL(None, use_errno=True)
_ITIMERSPEC = struct.Struct("=qqqq")  # interval and first time, each seconds and nanoseconds


class Timer:
    """Readable once, `seconds` after each start."""

    def __init__(self, seconds: float) -> None:
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "cannot make a timer")
        whole = int(seconds)
        self._spec = _ITIMERSPEC.pack(0, 0, whole, int((seconds - whole) * 1e9))

    def fileno(self) -> int:
        return int(self._fd)

    def start(self) -> None:
        _libc.timerfd_settime(self._fd, 0, self._spec, None)

    def expired(self) -> bool:
        """Whether the time is over; says so once."""
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self._fd)
