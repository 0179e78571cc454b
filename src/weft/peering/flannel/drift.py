"""Notices that somebody changed what is ours: the devices, their addresses, rows and routes; by rtnetlink's own word.

What we wrote ourselves is told to us too. The kernel names the socket that caused a neighbor's or a route's change, not
so for FDB rows. So a change by our own socket is passed over, and any other is held against what is to stand: if it
agrees, nobody has to look. Lost notifications count as a change.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import Protocol

from weft.netlink import message as m
from weft.netlink import neighbor as n
from weft.netlink import route as r
from weft.netlink.addresses import RTM_DELADDR, RTM_NEWADDR, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
from weft.netlink.channel import Channel
from weft.netlink.links import RTM_DELLINK, RTM_NEWLINK, RTNLGRP_LINK
from weft.netlink.namespace import Namespace
from weft.peering.flannel.peers import To
from weft.peering.flannel.vtep import Words

_GROUPS = (
    RTNLGRP_LINK,
    n.RTNLGRP_NEIGH,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    r.RTNLGRP_IPV4_ROUTE,
    r.RTNLGRP_IPV6_ROUTE,
)
_BUFFER = 4 << 20
_INDEX = struct.Struct("=i")  # at offset 4 of ifinfomsg, ndmsg and ifaddrmsg alike
_STATIC = n.NUD_NOARP | n.NUD_PERMANENT
_DST, _OIF, _GATEWAY = 1, 4, 5


class Wanted(Protocol):
    """What is to stand in one device's tables (`weft.peering.flannel.peers.Peers`)."""

    @property
    def fdb(self) -> Mapping[int, Words]: ...

    @property
    def neighbors(self) -> Mapping[Words, int]: ...

    @property
    def routes(self) -> Mapping[To, tuple[Words, bool]]: ...


class Drift:
    """`writers`: the port ids of our own sockets."""

    def __init__(self, namespace: Namespace, writers: frozenset[int]) -> None:
        self._channel = Channel(namespace=namespace, groups=_GROUPS, buffer=_BUFFER)
        self._writers = writers
        self._devices: dict[int, Wanted] = {}
        self._names: dict[int, str] = {}
        self._touched = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        self._channel.close()

    def learn(self, devices: Mapping[int, tuple[str, Wanted]]) -> None:
        """Index → name and what is to stand there, of our devices as they are now."""
        self._devices = {index: wanted for index, (_, wanted) in devices.items()}
        self._names = {index: name for index, (name, _) in devices.items()}

    async def wait(self) -> None:
        """Returns once something was changed since the last time it returned."""
        await self._touched.wait()
        self._touched.clear()

    def _read(self) -> None:
        for told in self._channel.heard():
            if told is None or self._matters(*told):
                self._touched.set()

    def _matters(self, kind: int, cause: int, body: bytes) -> bool:
        if cause in self._writers:
            return False
        if kind in (r.RTM_NEWROUTE, r.RTM_DELROUTE):
            return self._route(kind == r.RTM_NEWROUTE, body)
        (index,) = _INDEX.unpack_from(body, 4)
        if index not in self._devices:
            return False
        if kind in (n.RTM_NEWNEIGH, n.RTM_DELNEIGH):
            return self._row(kind == n.RTM_NEWNEIGH, self._devices[index], body)
        return kind in (RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR)

    @staticmethod
    def _row(written: bool, wanted: Wanted, body: bytes) -> bool:
        family = body[0]
        (state,) = struct.unpack_from("=H", body, 8)
        found = m.parse(body, n.NDMSG.size)
        mac = int.from_bytes(found.get(n.NDA_LLADDR, b""), "big")
        address = _words(found.get(n.NDA_DST, b""))
        if family == n.AF_BRIDGE:
            right = wanted.fdb.get(mac) == address and mac in wanted.fdb
            return right != written and (right or mac in wanted.fdb or bool(state & _STATIC))
        right = wanted.neighbors.get(address) == mac and bool(state & n.NUD_PERMANENT)
        return right != written and (address in wanted.neighbors or bool(state & n.NUD_PERMANENT))

    def _route(self, written: bool, body: bytes) -> bool:
        found = m.parse(body, r.RTMSG.size)
        family, length = body[0], body[1]
        index = m.to_int(found.get(_OIF))
        to = (*_words(found.get(_DST, b"")), length + (96 if family == 2 else 0))
        via = _words(found.get(_GATEWAY, b""))
        for device, wanted in self._devices.items():
            if (there := wanted.routes.get(to)) is not None:
                right = there[0] == via and (there[1] or device == index)
                if right != written:
                    return True
            elif device == index and written and via == to[:2]:
                return True
        return False


def _words(address: bytes) -> Words:
    if len(address) == 4:
        return 0, 0xFFFF << 32 | int.from_bytes(address, "big")
    return int.from_bytes(address[:8], "big"), int.from_bytes(address[8:], "big")
