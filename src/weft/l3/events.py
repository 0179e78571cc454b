"""Notifications out of routers' namespaces: a route, rule, address, link or static neighbor was changed.

What the kernel resolves by itself, and routes of others, are no events; of what it resolves nothing reaches the buffer.
Nor are our own rows: a neighbor's notification names the socket that caused it.
"""

from __future__ import annotations

import errno
import select
import struct
import sys
from collections.abc import Mapping

from weft.l3.inside import Inside
from weft.netlink import message as m
from weft.netlink import neighbor as n
from weft.netlink import route as r
from weft.netlink import routing as rules
from weft.netlink.addresses import RTM_DELADDR, RTM_NEWADDR, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
from weft.netlink.channel import Channel
from weft.netlink.filter import ALL, AT_LEAST, GREATER, LOAD_BYTE, RETURN, SET, Program, attach
from weft.netlink.links import RTM_DELLINK, RTM_NEWLINK, RTNLGRP_LINK

_GROUPS = (
    RTNLGRP_LINK,
    n.RTNLGRP_NEIGH,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    r.RTNLGRP_IPV4_ROUTE,
    r.RTNLGRP_IPV6_ROUTE,
    rules.RTNLGRP_IPV4_RULE,
    rules.RTNLGRP_IPV6_RULE,
)
_WHAT = {
    RTM_NEWLINK: "link changed",
    RTM_DELLINK: "link gone",
    n.RTM_NEWNEIGH: "neighbor written",
    n.RTM_DELNEIGH: "neighbor gone",
    RTM_NEWADDR: "address added",
    RTM_DELADDR: "address gone",
    r.RTM_NEWROUTE: "route written",
    r.RTM_DELROUTE: "route gone",
    rules.RTM_NEWRULE: "rule written",
    rules.RTM_DELRULE: "rule gone",
}
_STATIC = n.NUD_NOARP | n.NUD_PERMANENT
_TYPE, _STATE = (4, 24) if sys.byteorder == "little" else (5, 25)  # octets of nlmsg_type and ndm_state that count
# Of neighbor messages those about static rows, and all others
_NO_RESOLVING: Program = (
    (LOAD_BYTE, 0, 0, _TYPE),
    (AT_LEAST, 0, 3, n.RTM_NEWNEIGH),
    (GREATER, 2, 0, n.RTM_GETNEIGH),
    (LOAD_BYTE, 0, 0, _STATE),
    (SET, 0, 1, _STATIC),
    (RETURN, 0, 0, ALL),
    (RETURN, 0, 0, 0),
)


class Events:
    """One socket in each router's namespace, and one descriptor to wait on for all."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._channels: dict[str, tuple[tuple[int, int] | None, Channel]] = {}
        self._writers: dict[str, int] = {}  # the port id of the socket that writes our rows

    def fileno(self) -> int:
        return self._poll.fileno()

    def close(self) -> None:
        self.learn({})
        self._poll.close()

    def learn(self, routers: Mapping[str, Inside]) -> None:
        """The routers that are there, by name, as observed."""
        for name, (identity, channel) in list(self._channels.items()):
            if name not in routers or routers[name].identity != identity:
                self._poll.unregister(channel)
                channel.close()
                del self._channels[name]
        for name, inside in routers.items():
            if name not in self._channels:
                channel = Channel(namespace=inside.name)
                attach(channel.socket, _NO_RESOLVING)
                for group in _GROUPS:
                    channel.join(group)
                channel.socket.setblocking(False)
                self._channels[name] = inside.identity, channel
                self._writers[name] = inside.bulk.port
                self._poll.register(channel, select.EPOLLIN)

    def read(self) -> list[str]:
        """What has come since the last call, each thing once; never blocks."""
        found: dict[str, None] = {}
        for name, (_, channel) in self._channels.items():
            for what in _read(channel, self._writers[name]):
                found[f"router {name}: {what}"] = None
        return list(found)


def _read(channel: Channel, writer: int) -> list[str]:
    found: list[str] = []
    while True:
        try:
            datagram = channel.socket.recv(1 << 18)
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            found.append("notifications were lost")
            continue
        told = m.notifications(datagram)
        found += [_WHAT[kind] for kind, cause, body in told if kind in _WHAT and _counts(kind, cause, body, writer)]


def _counts(kind: int, cause: int, body: bytes, writer: int) -> bool:
    if kind in (n.RTM_NEWNEIGH, n.RTM_DELNEIGH):
        return cause != writer and bool(struct.unpack_from("=H", body, 8)[0] & _STATIC)
    if kind in (r.RTM_NEWROUTE, r.RTM_DELROUTE):
        return body[5] == r.PROTOCOL
    return True
