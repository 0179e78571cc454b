"""Persistent TAP devices through /dev/net/tun (Documentation/networking/tuntap.rst)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from weft.model.errors import Kind, WeftError
from weft.netlink.namespace import Namespace, entered

DEVICE = "/dev/net/tun"
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000


def create(name: str, namespace: Namespace = None) -> None:
    """A TAP device that stays when nobody holds it open. Raises WeftError, also where /dev/net/tun can't be opened."""
    with entered(namespace):
        try:
            fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise denied(error, name) from error
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
            fcntl.ioctl(fd, _TUNSETPERSIST, 1)
        except OSError as error:
            words = (error.strerror or "").lower()
            raise WeftError(Kind.FAILED, f"cannot create the TAP device: {words}", where=name) from error
        finally:
            os.close(fd)


def denied(error: OSError, name: str) -> WeftError:
    """Why /dev/net/tun does not open, and what to do."""
    words = (error.strerror or "").lower()
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        remedy = "load the module: modprobe tun (CONFIG_TUN)"
    else:
        remedy = f"give this user access to {DEVICE}, or attach a namespace instead"
    return WeftError(Kind.UNSUPPORTED, f"cannot open {DEVICE}: {words}", where=name, remedy=remedy)
