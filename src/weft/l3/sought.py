"""Addresses that routers have packets for and no neighbor: the kernel asks its ARP daemon, which is us.

A device with `app_solicit` tells of them by RTM_GETNEIGH to the group of neighbors instead of sending ARP, some times a
second apart (neigh_app_ns in net/core/neighbour.c, arp_solicit in net/ipv4/arp.c); the packets wait meanwhile. A
buffer of bounded size; what is lost the kernel repeats.
"""

from __future__ import annotations

import errno
import ipaddress
import select
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from weft.l3.inside import Inside
from weft.model.network import SegmentKey
from weft.netlink import message as m
from weft.netlink import neighbor as n
from weft.netlink.channel import Channel
from weft.netlink.filter import ALL, EQUAL, LOAD_BYTE, RETURN, Program, attach

_ONCE = 512  # messages that one call hands over
_BUFFER = 1 << 18
_TYPE = 4 if sys.byteorder == "little" else 5  # the octet of nlmsg_type that is not 0
_GETNEIGH: Program = (
    (LOAD_BYTE, 0, 0, _TYPE),
    (EQUAL, 0, 1, n.RTM_GETNEIGH),
    (RETURN, 0, 0, ALL),
    (RETURN, 0, 0, 0),
)


class Wish(NamedTuple):
    """A router wants the MAC of an address in a segment."""

    segment: SegmentKey
    router: str
    network: str
    ip: str


class Sought:
    """Listens in the routers that `learn` names; one descriptor to wait on for all."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._channels: dict[str, tuple[tuple[int, int] | None, Channel]] = {}
        self._devices: dict[str, dict[int, tuple[SegmentKey, str]]] = {}

    def fileno(self) -> int:
        return self._poll.fileno()

    def close(self) -> None:
        self.learn({}, {})
        self._poll.close()

    def learn(self, routers: Mapping[str, Inside], devices: Mapping[str, Mapping[int, tuple[SegmentKey, str]]]) -> None:
        """`devices`: router → index → (segment, network) of the interfaces that ask here."""
        self._devices = {name: dict(found) for name, found in devices.items() if found and name in routers}
        for name, (identity, channel) in list(self._channels.items()):
            if name not in self._devices or routers[name].identity != identity:
                self._poll.unregister(channel)
                channel.close()
                del self._channels[name]
        for name in self._devices.keys() - self._channels.keys():
            channel = Channel(namespace=routers[name].name, buffer=_BUFFER)
            attach(channel.socket, _GETNEIGH)
            channel.join(n.RTNLGRP_NEIGH)
            channel.socket.setblocking(False)
            self._channels[name] = routers[name].identity, channel
            self._poll.register(channel, select.EPOLLIN)

    def read(self) -> list[Wish]:
        """What has come since the last call, each once; never blocks."""
        found: dict[Wish, None] = {}
        for name, (_, channel) in self._channels.items():
            for body in _bodies(channel):
                (index,) = struct.unpack_from("=i", body, 4)
                ip = m.parse(body, 12).get(n.NDA_DST, b"")
                if index in self._devices[name] and len(ip) == 4:
                    segment, network = self._devices[name][index]
                    found[Wish(segment, name, network, str(ipaddress.IPv4Address(ip)))] = None
        return list(found)


def _bodies(channel: Channel) -> Iterator[bytes]:
    for _ in range(_ONCE):
        try:
            datagram = channel.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            continue
        for kind, _, _, body in m.messages(datagram):
            if kind == n.RTM_GETNEIGH and len(body) >= 12:
                yield body
