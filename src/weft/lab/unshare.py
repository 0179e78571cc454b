"""The system calls behind namespaces that weft.netlink.namespace does not need: user and mount namespaces.

Imports nothing heavy: entering a user namespace needs a process with one thread, and numpy starts some.
unshare(2), setns(2), mount(2).
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_REC, MS_SLAVE = 0x4000, 1 << 19
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code).lower()}")


def unshare(flags: int) -> None:
    """Raises OSError, with the call's name."""
    _call("unshare", ctypes.c_int(flags))


def setns(fd: int, kind: int) -> None:
    _call("setns", ctypes.c_int(fd), ctypes.c_int(kind))


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode() or None)


def umount(target: str) -> None:
    _call("umount2", target.encode(), ctypes.c_int(_MNT_DETACH))
