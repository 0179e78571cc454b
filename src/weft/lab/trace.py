"""A traceroute: echo requests with TTL 1, 2, 3… and who says that it ended there.

The routers' answers come through the socket's error queue, their senders as the "offender" (struct sock_extended_err,
linux/errqueue.h). RFC 792, RFC 4443.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time

from weft.model.address import is_ipv6
from weft.netlink.namespace import socket_in
from weft.wire import icmp, icmpv6
from weft.wire.checksum import PseudoHeader

_IP_RECVERR, _IPV6_RECVERR, _MSG_ERRQUEUE = 11, 25, 0x2000
_TRIES, _HOPS = 3, 16
SILENT = "*"


def trace(where: str, source: str, target: str, timeout: float = 2.0) -> tuple[tuple[str, ...], bool]:
    """(routers on the way, `SILENT` for one that says nothing; whether the target answered)."""
    found: list[str] = []
    for ttl in range(1, _HOPS):
        for _ in range(_TRIES):
            arrived, who = _probe(where, source, target, ttl, timeout)
            if arrived:
                return tuple(found), True
            if who != SILENT:
                break
        found.append(who)
        if found[-2:] == [SILENT, SILENT]:
            break
    return tuple(found), False


def _probe(where: str, source: str, target: str, ttl: int, timeout: float) -> tuple[bool, str]:
    four = not is_ipv6(target)
    family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if four else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    ident = int.from_bytes(os.urandom(2), "big")
    with socket_in(where, family, socket.SOCK_RAW, protocol) as raw:
        raw.setblocking(False)
        if four:
            raw.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            raw.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            request = icmp.echo_request(ident, ttl, b"weft")
        else:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
            raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            request = icmpv6.echo_request(ident, ttl, b"weft", PseudoHeader(source, target))
        raw.bind((source, 0))
        try:
            raw.sendto(request, (target, 0))
        except OSError:
            return False, SILENT
        poll = select.poll()
        poll.register(raw, select.POLLIN | select.POLLERR)
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            # a raw socket gets a router's answer as a packet first, and as an error a moment later
            for _, happened in poll.poll(left * 1000):
                if happened & select.POLLERR and (who := _offender(raw)):
                    return False, who
                if happened & select.POLLIN and _answers(raw, four, ident):
                    return True, ""
    return False, SILENT


def _answers(raw: socket.socket, four: bool, ident: int) -> bool:
    try:
        data = raw.recv(1 << 16)
    except OSError:  # an error that the queue tells more about
        return False
    data = data[(data[0] & 15) * 4 :] if four else data
    reply = icmp.ECHO_REPLY if four else icmpv6.ECHO_REPLY
    return len(data) >= 8 and data[0] == reply and struct.unpack("!H", data[4:6])[0] == ident


def _offender(raw: socket.socket) -> str:
    """Who sent the error: a sockaddr behind the 16 octets of sock_extended_err."""
    try:
        _, ancillary, _, _ = raw.recvmsg(1 << 16, 512, _MSG_ERRQUEUE)
    except OSError:
        return ""
    for _, kind, data in ancillary:
        if kind == _IP_RECVERR and len(data) >= 24:
            return socket.inet_ntop(socket.AF_INET, data[20:24])
        if kind == _IPV6_RECVERR and len(data) >= 40:
            return socket.inet_ntop(socket.AF_INET6, data[24:40])
    return ""
