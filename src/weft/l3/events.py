"""Notifications about routers: a route, rule, address, link, static neighbor or NAT rule was changed; a router is gone.

What the kernel resolves by itself, and routes of others, are no events; of what it resolves nothing reaches the buffer.
Nor are our own rows: a neighbor's notification names the socket that caused it. That a namespace lost its name, nobody
tells in it: mounts are watched for that (`weft.netlink.mounts`), and the routers' names looked at.
"""

from __future__ import annotations

import contextlib
import select
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from weft.l3.inside import Inside
from weft.netlink import message as m
from weft.netlink import mounts, namespace
from weft.netlink import neighbor as n
from weft.netlink import nft_message as x
from weft.netlink import route as r
from weft.netlink import routing as rules
from weft.netlink.addresses import RTM_DELADDR, RTM_NEWADDR, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
from weft.netlink.channel import NETLINK_NETFILTER, Channel
from weft.netlink.filter import ALL, AT_LEAST, EQUAL, GREATER, LOAD_BYTE, LOAD_WORD, RETURN, SET, Program, attach
from weft.netlink.links import RTM_DELLINK, RTM_NEWLINK, RTNLGRP_LINK
from weft.netlink.nft import NFNLGRP_NFTABLES, table_of
from weft.netlink.nft_nat import TABLE

_RTNLGRP_IPV4_NETCONF, _RTNLGRP_IPV6_NETCONF, _RTM_NEWNETCONF = 24, 25, 80  # uapi/linux/rtnetlink.h
_NETCONFA_IFINDEX = 1  # uapi/linux/netconf.h
_GROUPS = (
    RTNLGRP_LINK,
    n.RTNLGRP_NEIGH,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    r.RTNLGRP_IPV4_ROUTE,
    r.RTNLGRP_IPV6_ROUTE,
    rules.RTNLGRP_IPV4_RULE,
    rules.RTNLGRP_IPV6_RULE,
    _RTNLGRP_IPV4_NETCONF,
    _RTNLGRP_IPV6_NETCONF,
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
    _RTM_NEWNETCONF: "forwarding, rp_filter or proxy_arp changed",
}
_STATIC = n.NUD_NOARP | n.NUD_PERMANENT
_TYPE, _STATE = (4, 24) if sys.byteorder == "little" else (5, 25)  # octets of nlmsg_type and ndm_state that count
_CAUSE = 12  # where nlmsg_pid stands
# Of neighbor messages those that a socket has caused and those about static rows, and all others
_NO_RESOLVING: Program = (
    (LOAD_BYTE, 0, 0, _TYPE),
    (AT_LEAST, 0, 5, n.RTM_NEWNEIGH),
    (GREATER, 4, 0, n.RTM_GETNEIGH),
    (LOAD_WORD, 0, 0, _CAUSE),
    (EQUAL, 0, 2, 0),
    (LOAD_BYTE, 0, 0, _STATE),
    (SET, 0, 1, _STATIC),
    (RETURN, 0, 0, ALL),
    (RETURN, 0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class _Ear:
    """What listens in one router's namespace: its name on this machine, which one it was, the sockets. `writer`: the
    port id of the socket that writes our rows. `devices`: those that count, None: all of the namespace's."""

    namespace: str
    identity: tuple[int, int] | None
    channels: tuple[Channel, ...]
    writer: int
    devices: frozenset[int] | None = None


class Events:
    """Sockets in each router's namespace, and one descriptor to wait on for all."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._mounts = mounts.Mounts()
        self._poll.register(self._mounts, mounts.EVENTS)
        self._ears: dict[str, _Ear] = {}

    def fileno(self) -> int:
        return self._poll.fileno()

    def close(self) -> None:
        self.learn({})
        self._mounts.close()
        self._poll.close()

    def learn(self, routers: Mapping[str, Inside], guests: Mapping[str, frozenset[int]] | None = None) -> None:
        """The routers that are there, by name, as observed. `guests`: of one in the host's own namespace its devices,
        as most of what is told there is others'."""
        guests = guests or {}
        for name, ear in list(self._ears.items()):
            told = ear.identity, ear.devices is not None
            if name not in routers or (routers[name].identity, name in guests) != told:
                for channel in ear.channels:
                    self._poll.unregister(channel)
                    channel.close()
                del self._ears[name]
        for name, inside in routers.items():
            if name not in self._ears:
                channels = tuple(_channels(inside))
                self._ears[name] = _Ear(inside.name, inside.identity, channels, inside.bulk.port)
                for channel in channels:
                    self._poll.register(channel, select.EPOLLIN)
            if name in guests:
                self._ears[name] = replace(self._ears[name], devices=guests[name])

    def read(self) -> list[str]:
        """What has come since the last call, each thing once; never blocks."""
        found: dict[str, None] = {}
        for name, ear in self._ears.items():
            if namespace.identity(ear.namespace) != ear.identity:
                found[f"router {name}: namespace gone"] = None
            for channel in ear.channels:
                for what in _read(channel, ear):
                    found[f"router {name}: {what}"] = None
        return list(found)


def _channels(inside: Inside) -> Iterator[Channel]:
    route = Channel(namespace=inside.name)
    attach(route.socket, _NO_RESOLVING)
    for group in _GROUPS:
        route.join(group)
    yield route
    if inside.host:  # NAT is the host's
        return
    with contextlib.suppress(OSError):  # a kernel without nftables
        yield Channel(NETLINK_NETFILTER, inside.name, (NFNLGRP_NFTABLES,))


def _read(channel: Channel, ear: _Ear) -> list[str]:
    told = ("notifications were lost" if each is None else _what(*each, ear) for each in channel.heard())
    return list(filter(None, told))


def _what(kind: int, cause: int, body: bytes, ear: _Ear) -> str:
    """What a notification tells; "" where it is none of ours."""
    if kind in _WHAT:
        return _WHAT[kind] if _counts(kind, cause, body, ear) else ""
    return "nft table changed" if table_of(kind, body, x.INET) == TABLE else ""


def _counts(kind: int, cause: int, body: bytes, ear: _Ear) -> bool:
    if ear.devices is not None and not _of(kind, body, ear.devices):
        return False
    if kind in (n.RTM_NEWNEIGH, n.RTM_DELNEIGH):
        static = bool(struct.unpack_from("=H", body, 8)[0] & _STATIC)
        # One that is deleted is first written as failed, by whoever deletes it
        return cause != ear.writer and (static or (kind == n.RTM_NEWNEIGH and cause != 0))
    if kind in (r.RTM_NEWROUTE, r.RTM_DELROUTE):
        return body[5] == r.PROTOCOL or (kind == r.RTM_DELROUTE and _connected(body, ear.devices))
    return True


def _connected(body: bytes, devices: frozenset[int] | None) -> bool:
    """Whether it is a route to a subnet on a device of the router; it goes with its address too, which is told of."""
    table, protocol = body[4:6]
    if (table, protocol) != (r.MAIN, r.KERNEL):
        return False
    return devices is None or m.to_int(m.parse(body, r.RTMSG.size).get(r.OIF)) in devices


def _of(kind: int, body: bytes, devices: frozenset[int]) -> bool:
    """Whether it is about one of these devices; routes are told apart by who made them."""
    if kind in (rules.RTM_NEWRULE, rules.RTM_DELRULE):
        return False
    if kind in (r.RTM_NEWROUTE, r.RTM_DELROUTE):
        return True
    if kind == _RTM_NEWNETCONF:
        return m.to_int(m.parse(body, 4).get(_NETCONFA_IFINDEX)) in devices
    return bool(struct.unpack_from("=i", body, 4)[0] in devices)  # the same place in links, addresses, neighbors
