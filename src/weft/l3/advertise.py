"""Router advertisements of the routers here: a thread sends what weft.wire.router_advertisement says, when it says.

It follows what was observed to stand, so a restarted agent goes on by itself; while none runs, hosts keep what they
were told for its lifetime. Solicitations come by a raw socket on the device that the hosts know: a router's kernel has
joined the group of all routers there. Frames leave by a packet socket, as the gateway's MAC.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weft.l3.inside import Inside
from weft.model.errors import WeftError
from weft.netlink.namespace import socket_in
from weft.plan.router import Irb, Router, anycast_device
from weft.wire.nd import ROUTER_SOLICITATION
from weft.wire.router_advertisement import Advertised, Schedule

_ICMP6_FILTER = 1
_ONLY = ((1 << 256) - 1 ^ 1 << ROUTER_SOLICITATION).to_bytes(32, sys.byteorder)  # a bit set: not passed
_HOP_LIMIT = 255  # what comes from this link alone still has it (RFC 4861 section 6.1.1)
_AGAIN = 5.0  # seconds until a link that could not be spoken on is tried again

Where = tuple[str, tuple[int, int] | None, str]  # a router's namespace, which one it was, the device


@dataclass(slots=True)
class _Link:
    told: Advertised
    schedule: Schedule
    raw: socket.socket | None = None
    packet: socket.socket | None = None
    not_before: float = 0.0

    def close(self) -> None:
        for each in (self.raw, self.packet):
            if each is not None:
                each.close()
        self.raw = self.packet = None


class Advertiser:
    """All links of one node. Its thread runs from the first link on until `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[Where, _Link] = {}
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop = False
        self._thread: threading.Thread | None = None

    def follow(self, routers: Mapping[str, tuple[Router, Inside, Mapping[str, int]]]) -> None:
        """What stands now, by name: the router, its namespace, and the MTU of each device in it."""
        wanted = {where: told for found in routers.values() for where, told in links(*found)}
        now = time.monotonic()
        with self._lock:
            for where in self._links.keys() - wanted.keys():
                self._links.pop(where).close()
            for where, told in wanted.items():
                if where not in self._links:
                    self._links[where] = _Link(told, Schedule(now, random.random))
                elif self._links[where].told != told:
                    self._links[where].told = told
                    self._links[where].schedule = Schedule(now, random.random)
        if wanted and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="weft-advertise", daemon=True)
            self._thread.start()
        os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        self._stop = True
        os.eventfd_write(self._bell, 1)
        if self._thread:
            self._thread.join()
        os.close(self._bell)
        for link in self._links.values():
            link.close()

    def _run(self) -> None:
        while not self._stop:
            with self._lock:
                now = time.monotonic()
                for where, link in self._links.items():
                    if now >= link.not_before:
                        self._look(where, link, now)
                heard = [link.raw.fileno() for link in self._links.values() if link.raw]
                due = min((max(each.schedule.next, each.not_before) for each in self._links.values()), default=None)
            pause = None if due is None else max(0.0, due - time.monotonic())
            with contextlib.suppress(OSError):  # one was closed meanwhile
                select.select([self._bell, *heard], [], [], pause)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._bell)

    def _look(self, where: Where, link: _Link, now: float) -> None:
        try:
            if link.raw is None:
                link.raw, link.packet = _open(where)
            if _asked(link.raw):
                link.schedule.solicited(now)
            if link.packet and link.schedule.due(now):
                link.packet.send(link.told.frame())
        except (OSError, WeftError):
            link.close()
            link.not_before = now + _AGAIN


def links(router: Router, inside: Inside, mtus: Mapping[str, int]) -> Iterator[tuple[Where, Advertised]]:
    """Where a router advertises, and what: its subnets on that link."""
    for irb in router.interfaces:
        source = next((text.partition("/")[0] for text in irb.addresses if text.startswith("fe80:")), "")
        if irb.advertise and source and irb.device in mtus:
            device = anycast_device(irb.segment) if irb.anycast else irb.device
            told = Advertised(irb.anycast or irb.mac, source, _prefixes(router, irb), mtus[irb.device])
            yield (inside.name, inside.identity, device), told


def _prefixes(router: Router, irb: Irb) -> tuple[str, ...]:
    """An anycast gateway's subnets are routes, since its addresses stand alone."""
    found = {str(ipaddress.ip_interface(text).network) for text in irb.addresses if not irb.anycast}
    found |= {r.to for r in router.routes for hop in r.hops if hop.device == irb.device and not hop.via}
    return tuple(sorted(text for text in found if ":" in text and not text.startswith("fe80:")))


def _open(where: Where) -> tuple[socket.socket, socket.socket]:
    namespace, _, device = where
    raw = socket_in(namespace, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    raw.setblocking(False)
    raw.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _ONLY)
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    packet = socket_in(namespace, socket.AF_PACKET, socket.SOCK_RAW)
    packet.bind((device, 0))
    return raw, packet


def _asked(raw: socket.socket) -> bool:
    """Whether a host of this very link has solicited; takes all that waits."""
    found = False
    while True:
        try:
            _, more, _, _ = raw.recvmsg(1500, 64)
        except BlockingIOError:
            return found
        limits = [int.from_bytes(data, "little") for _, kind, data in more if kind == socket.IPV6_HOPLIMIT]
        found |= limits == [_HOP_LIMIT]
