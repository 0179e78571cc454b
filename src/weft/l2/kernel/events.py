"""Notifications of the kernel about what is ours: devices, their addresses, their rows, our nftables table.

Two sockets behind one descriptor: rtnetlink's multicast groups, heard in every namespace that the host's knows by an
id (so in those of its ports, whose veth peers give them one; NETLINK_LISTEN_ALL_NSID of netlink(7)), and nftables'.

An address of any other device of the host, and the device under the VTEP, are told of without a segment: facts change.
What a bridge learns and what the kernel resolves by itself is daily life and no event. Nor are the echoes of our own
row operations: a neighbor's notification names the socket that caused it, an FDB row's is known by its content
(`weft.l2.kernel.echo`). Echoes of link operations are not told apart; who applies those observes afterwards anyway.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.l2.datapath import Event
from weft.l2.kernel.echo import Echo, Row, row_of
from weft.l2.names import DeviceKind, key_of, parse_alias
from weft.model.network import SegmentKey
from weft.netlink import message as m
from weft.netlink import neighbor as n
from weft.netlink import route
from weft.netlink.addresses import RTM_DELADDR, RTM_NEWADDR, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
from weft.netlink.channel import NETLINK_NETFILTER, Channel
from weft.netlink.links import RTM_DELLINK, RTM_NEWLINK, RTNLGRP_LINK, Link, decode
from weft.netlink.namespace import Namespace
from weft.netlink.nft import NFNLGRP_NFTABLES, table_of

Place = tuple[int, int]
"""A device: the id of its namespace, `HERE` for the host's own, and its index there."""
HERE = -1

_GROUPS = (RTNLGRP_LINK, n.RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR)
_BUFFER = 4 << 20
_ONE = 1 << 18  # octets of the longest datagram
_SOL_NETLINK, _LISTEN_ALL_NSID = 270, 8
_INDEX = struct.Struct("=i")  # at offset 4 of ifinfomsg, ndmsg and ifaddrmsg alike
_WHAT = {
    RTM_NEWLINK: "link changed",
    RTM_DELLINK: "link gone",
    n.RTM_NEWNEIGH: "row written",
    n.RTM_DELNEIGH: "row gone",
    RTM_NEWADDR: "address added",
    RTM_DELADDR: "address gone",
}
_ROUTE = {route.RTM_NEWROUTE: "route written", route.RTM_DELROUTE: "route gone"}
LOST = Event("notifications were lost")


@dataclass(frozen=True, slots=True)
class Ours:
    """What of ours stands where. `tunnels`: vxlan devices by index; `learning`: segments that learn from frames;
    `routed`: those with routes by their vxlan devices."""

    devices: Mapping[Place, SegmentKey] = field(default_factory=dict)
    tunnels: Mapping[int, SegmentKey] = field(default_factory=dict)
    learning: frozenset[SegmentKey] = frozenset()
    routed: frozenset[SegmentKey] = frozenset()


class Events:
    """`writer`: the port id of the socket that writes our rows; `table`: the name of our nftables table. Neither where
    we have none.

    `steady`: none of our links has changed since `learn`, nor the ports of our bridges, whoever did it.
    """

    def __init__(self, cluster: str, namespace: Namespace, writer: int = 0, table: str = "") -> None:
        self._cluster, self._writer, self._table = cluster, writer, table
        self._route = Channel(namespace=namespace, groups=_GROUPS, buffer=_BUFFER)
        self._route.hear_everywhere()
        self._channels = [self._route]
        if table:
            with contextlib.suppress(OSError):  # a kernel without nftables
                self._channels.append(Channel(NETLINK_NETFILTER, namespace, (NFNLGRP_NFTABLES,), _BUFFER))
        self._either = select.epoll()
        for channel in self._channels:
            channel.socket.setblocking(False)
            self._either.register(channel, select.EPOLLIN)
        self._ours = Ours()
        self.steady = False
        self.underlay = 0  # index of the device that holds the VTEP address
        self._hears_routes = False
        self._new: dict[int, SegmentKey] = {}  # links that appeared after the last observation

    def close(self) -> None:
        self._either.close()
        for channel in self._channels:
            channel.close()

    def fileno(self) -> int:
        return self._either.fileno()

    def learn(self, ours: Ours) -> None:
        """What has been observed. Routes are listened to once a segment has any: a host can have many."""
        if ours.routed and not self._hears_routes:
            self._hears_routes = True
            for group in (route.RTNLGRP_IPV4_ROUTE, route.RTNLGRP_IPV6_ROUTE):
                self._route.join(group)
        self._ours = ours
        self._new = {}
        self.steady = True

    def read(self, echo: Echo = frozenset()) -> list[Event]:
        """What has come since the last call, each thing once, without what `echo` expects; never blocks."""
        found: dict[Event, None] = {}
        for channel in self._channels:
            for datagram, where in _received(channel):
                if datagram is None:
                    found[LOST] = None
                    self.steady = False
                    continue
                for kind, cause, body in m.notifications(datagram):
                    told = self._event(kind, cause, body, where, echo) if channel is self._route else None
                    if event := told or self._nft_event(kind, body):
                        found[event] = None
        return list(found)

    def _nft_event(self, kind: int, body: bytes) -> Event | None:
        changed = table_of(kind, body)
        ours = (self._table, f"{self._table}-gateways", f"{self._table}-relay")
        return Event(f"nft table bridge {changed} changed") if changed in ours else None

    def _event(self, kind: int, cause: int, body: bytes, where: int, echo: Echo) -> Event | None:
        if kind in _ROUTE:
            return self._route_event(kind, cause, body) if where == HERE else None
        if kind not in _WHAT:
            return None
        (index,) = _INDEX.unpack_from(body, 4)
        key = self._ours.devices.get((where, index)) or (self._new.get(index) if where == HERE else None)
        if kind in (n.RTM_NEWNEIGH, n.RTM_DELNEIGH):
            mine = key is not None and where == HERE and self._foreign_row(kind, cause, index, body, echo)
            rows = body[0] != n.AF_BRIDGE or index in self._ours.tunnels  # one on a port can be the end of another
            return Event(_WHAT[kind], key, rows) if mine else None
        if key is None and where == HERE and kind == RTM_NEWLINK:
            key = self._recognise(decode(body))
        elif key is not None and kind in (RTM_NEWLINK, RTM_DELLINK):
            self.steady = False
        if key is None and where == HERE and (index == self.underlay or kind in (RTM_NEWADDR, RTM_DELADDR)):
            return Event(f"underlay: {_WHAT[kind]}")
        return None if key is None else Event(_WHAT[kind], key)

    def _route_event(self, kind: int, cause: int, body: bytes) -> Event | None:
        """A route of our protocol by one of our devices that somebody else wrote or removed."""
        if cause == self._writer or body[5] != route.PROTOCOL:
            return None
        key = self._ours.tunnels.get(m.to_int(m.parse(body, route.RTMSG.size).get(route.OIF)))
        return Event(_ROUTE[kind], key) if key in self._ours.routed else None

    def _foreign_row(self, kind: int, cause: int, index: int, body: bytes, echo: Echo) -> bool:
        """Whether a row of one of our devices was written or removed by somebody else."""
        (state,) = struct.unpack_from("=H", body, 8)
        static = bool(state & (n.NUD_NOARP | n.NUD_PERMANENT))
        if body[0] != n.AF_BRIDGE:  # one that is deleted is first written as failed, by whoever deletes it
            return cause != self._writer and (static or (kind == n.RTM_NEWNEIGH and cause != 0))
        segment = self._ours.tunnels.get(index)
        if segment is None:  # one on a port, static or not, is a host's that spoke there: `weft.l2.kernel.punt`
            return bool(state & n.NUD_PERMANENT)
        row: Row = row_of(kind == n.RTM_NEWNEIGH, segment, m.parse(body, 12))
        return (static or segment not in self._ours.learning) and row not in echo

    def _recognise(self, link: Link) -> SegmentKey | None:
        """The segment of a link that appeared after the last observation, if it is ours."""
        if (HERE, link.master) in self._ours.devices:
            self.steady = False
        alias = parse_alias(link.alias, self._cluster)
        key = key_of(link.name) if alias and alias.kind is not DeviceKind.PORT else None
        if key is not None:
            self.steady = False
            self._new[link.index] = key
        return key


def _received(channel: Channel) -> list[tuple[bytes | None, int]]:
    """(datagram, id of the namespace it speaks of) of all that waits; None: some were lost."""
    found: list[tuple[bytes | None, int]] = []
    while True:
        try:
            datagram, more, _, _ = channel.socket.recvmsg(_ONE, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            found.append((None, HERE))
            continue
        ids = [value for level, kind, value in more if (level, kind) == (_SOL_NETLINK, _LISTEN_ALL_NSID)]
        found.append((datagram, struct.unpack("=i", ids[0])[0] if ids else HERE))
