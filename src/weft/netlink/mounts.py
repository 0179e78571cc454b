"""Tells that mounts have come or gone: a named network namespace is a bind mount, and its name goes with it.

/proc/self/mountinfo polls as an exceptional condition after every change in this process's mount namespace, and that
once (proc_pid_mountinfo(5); fs/proc_namespace.c, mounts_poll). Unlike inotify it takes nothing of a limit that users
share; unlike a notification of the kernel (RTM_DELNSID) it comes while sockets still keep the namespace alive.
"""

from __future__ import annotations

import os
import select

_MOUNTINFO = "/proc/self/mountinfo"
EVENTS = select.EPOLLPRI
"""What to wait for; the descriptor is always readable."""


class Mounts:
    """A descriptor to wait on for `EVENTS`. What has changed it does not say."""

    def __init__(self) -> None:
        self._fd = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)
