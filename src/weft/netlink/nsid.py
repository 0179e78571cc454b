"""Ids by which one network namespace calls another (RTM_NEWNSID, net/core/net_namespace.c).

A socket with NETLINK_LISTEN_ALL_NSID hears the notifications of every namespace that its own has an id for, and is told
the id with each. Ids hold nothing alive and go with either namespace.
"""

from __future__ import annotations

import errno
import struct

from weft.netlink import message as m
from weft.netlink.channel import Channel, NetlinkError

_RTM_NEWNSID, _RTM_GETNSID = 88, 90
_NSID, _FD = 1, 3
_HEADER = bytes(4)  # struct rtgenmsg, padded
_ANY = struct.pack("=i", -1)


def known_as(channel: Channel, fd: int) -> int:
    """What the channel's namespace calls the one behind a descriptor; it is given an id if it has none.

    Raises NetlinkError; ENOENT where the kernel gives no ids.
    """
    try:
        channel.request(_RTM_NEWNSID, 0, _HEADER + m.attribute(_NSID, _ANY) + m.u32(_FD, fd))
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
    body = channel.get(_RTM_GETNSID, _HEADER + m.u32(_FD, fd))
    found: int = struct.unpack("=i", m.parse(body or b"", len(_HEADER)).get(_NSID, _ANY))[0]
    if found < 0:
        raise NetlinkError(errno.ENOENT)
    return found
