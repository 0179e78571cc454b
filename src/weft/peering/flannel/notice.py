"""Notices that the tunnel may not be as it was left: the forwarder says so, or rtnetlink does of its device.

The forwarder tells of its end and of a device that went. Everything else about the device, its MTU, address and routes,
is told by the kernel, our own changes too: a look that finds nothing to do costs little.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from weft.l2.user.iptunnel.tunnels import IpTunnels
from weft.netlink import message as m
from weft.netlink import route as r
from weft.netlink.addresses import RTNLGRP_IPV4_IFADDR
from weft.netlink.channel import Channel
from weft.netlink.links import RTNLGRP_LINK
from weft.netlink.namespace import Namespace, entered

_GROUPS = (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, r.RTNLGRP_IPV4_ROUTE)
_OIF = 4
_INDEX = struct.Struct("=i")  # at offset 4 of ifinfomsg and ifaddrmsg alike


class Notice:
    """Of one device in a namespace."""

    def __init__(self, namespace: Namespace, device: str, tunnels: IpTunnels) -> None:
        self._namespace, self._device, self._tunnels = namespace, device, tunnels
        self._channel = Channel(namespace=namespace, groups=_GROUPS)
        self._touched = asyncio.Event()
        self._index = 0
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._heard)
        self.listen()

    def listen(self) -> None:
        """After a look: the device may be another one now, and so may be the forwarder."""
        self._tunnels.events()
        asyncio.get_running_loop().add_reader(self._tunnels.events_fd(), self._told)
        with contextlib.suppress(OSError), entered(self._namespace):
            self._index = socket.if_nametoindex(self._device)

    async def wait(self) -> None:
        """Returns once something may have changed since the last time it returned."""
        await self._touched.wait()
        self._touched.clear()

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._channel.fileno())
        loop.remove_reader(self._tunnels.events_fd())
        self._channel.close()

    def _told(self) -> None:
        asyncio.get_running_loop().remove_reader(self._tunnels.events_fd())  # until somebody has looked
        self._touched.set()

    def _heard(self) -> None:
        for told in self._channel.heard():
            if told is None or self._concerns(*told):
                self._touched.set()

    def _concerns(self, kind: int, cause: int, body: bytes) -> bool:
        if kind in (r.RTM_NEWROUTE, r.RTM_DELROUTE):
            return m.to_int(m.parse(body, r.RTMSG.size).get(_OIF)) == self._index
        return bool(_INDEX.unpack_from(body, 4)[0] == self._index)
