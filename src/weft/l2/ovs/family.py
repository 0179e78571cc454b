"""Whether this kernel has a generic netlink family, such as Open vSwitch's datapath (genetlink.h; loads its module)."""

from __future__ import annotations

import struct

from weft.netlink import message as m
from weft.netlink.channel import Channel, NetlinkError
from weft.netlink.namespace import Namespace

_NETLINK_GENERIC = 16
_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME = 0x10, 3, 2


def exists(name: str, namespace: Namespace = None) -> bool:
    channel = Channel(_NETLINK_GENERIC, namespace)
    try:
        body = struct.pack("=BBH", _CTRL_CMD_GETFAMILY, 1, 0) + m.text(_CTRL_ATTR_FAMILY_NAME, name)
        return channel.get(_GENL_ID_CTRL, body) is not None
    except NetlinkError:
        return False
    finally:
        channel.close()
