"""ICMP echo from inside a namespace: a raw socket of its own, no ping binary. RFC 792, RFC 4443; ip(7), ipv6(7).

What routers and the own stack have to say about a packet (unreachable, too big) comes through the socket's error queue
(IP_RECVERR, `struct sock_extended_err` of linux/errqueue.h).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from dataclasses import dataclass, field

from weft.model.address import is_ipv6
from weft.model.errors import Kind, WeftError
from weft.netlink.namespace import socket_in
from weft.wire import icmp, icmpv6
from weft.wire.checksum import PseudoHeader

# numbers of linux/in.h and linux/in6.h which the socket module does not have
_IP_MTU_DISCOVER, _IP_RECVERR, _IP_MTU, _DONT, _DO = 10, 11, 14, 0, 2
_IPV6_MTU_DISCOVER, _IPV6_MTU, _IPV6_RECVERR = 23, 24, 25
_MSG_ERRQUEUE = 0x2000
_DEFAULT_PAYLOAD = 56
_HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}  # IP and ICMP
_UNREACHABLE = {
    errno.ENETUNREACH: "network unreachable",
    errno.EHOSTUNREACH: "host unreachable",
    errno.EACCES: "prohibited",
}


@dataclass(frozen=True, slots=True)
class Pinged:
    """What came of it: `ttls` and `rtts` (seconds) of the replies, `errors` in words, each once."""

    sent: int
    ttls: tuple[int, ...] = ()
    rtts: tuple[float, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def received(self) -> int:
        return len(self.rtts)

    def __str__(self) -> str:
        text = f"{self.received} of {self.sent} answered"
        if self.rtts:
            text += f", ttl {self.ttls[-1]}, {1000 * sum(self.rtts) / len(self.rtts):.2f} ms"
        return "; ".join((text, *self.errors))


@dataclass(slots=True)
class _Run:
    ttls: list[int] = field(default_factory=list)
    rtts: list[float] = field(default_factory=list)
    errors: dict[str, None] = field(default_factory=dict)


def ping(
    where: str,
    source: str,
    target: str,
    *,
    count: int = 1,
    size: int | None = None,
    df: bool = False,
    timeout: float = 1.0,
) -> Pinged:
    """Sends `count` echo requests, each after the answer to the one before or its `timeout` in seconds.

    `where`: the namespace. `source`, `target`: IP addresses of one family. `size`: octets of the whole IP packet.
    Raises FAILED where `source` is no address there: nothing was tried then.
    """
    family = socket.AF_INET6 if is_ipv6(target) else socket.AF_INET
    ident = int.from_bytes(os.urandom(2), "big")
    payload = os.urandom(max(0, (size - _HEADERS[family]) if size else _DEFAULT_PAYLOAD))
    run = _Run()
    with _socket(where, family, df) as raw:
        try:
            raw.bind((source, 0))
        except OSError as error:
            raise WeftError(
                Kind.FAILED, f"cannot send from {source}: {error.strerror}", where=where, remedy="is the port up?"
            ) from None
        try:
            raw.connect((target, 0))
        except OSError as error:
            return Pinged(count, errors=(f"from {source} to {target}: {error.strerror}",))
        for sequence in range(1, count + 1):
            _one(raw, _request(family, source, target, ident, sequence, payload), ident, sequence, timeout, run)
    return Pinged(count, tuple(run.ttls), tuple(run.rtts), tuple(run.errors))


def open_socket(where: str, source: str, target: str) -> socket.socket:
    """A raw ICMP socket in a namespace, bound and connected; raises OSError."""
    raw = _socket(where, socket.AF_INET6 if is_ipv6(target) else socket.AF_INET, False)
    raw.bind((source, 0))
    raw.connect((target, 0))
    return raw


def request(source: str, target: str, ident: int, sequence: int) -> bytes:
    """An echo request without anything in it."""
    return _request(socket.AF_INET6 if is_ipv6(target) else socket.AF_INET, source, target, ident, sequence, b"")


def _socket(where: str, family: int, df: bool) -> socket.socket:
    four = family == socket.AF_INET
    protocol = socket.IPPROTO_ICMP if four else socket.IPPROTO_ICMPV6
    raw = socket_in(where, family, socket.SOCK_RAW, protocol)
    raw.setblocking(False)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    mode = _DO if df else _DONT
    if four:
        raw.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, mode)
        raw.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    else:
        raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, mode)
        raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        if df:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DONTFRAG, 1)
    return raw


def _request(family: int, source: str, target: str, ident: int, sequence: int, payload: bytes) -> bytes:
    if family == socket.AF_INET:
        return icmp.echo_request(ident, sequence, payload)
    return icmpv6.echo_request(ident, sequence, payload, PseudoHeader(source, target))


def _one(raw: socket.socket, request: bytes, ident: int, sequence: int, timeout: float, run: _Run) -> None:
    begun = time.monotonic()
    try:
        raw.send(request)
    except OSError as error:
        # the error queue may hold what an earlier packet met; this packet never left
        _errors(raw, run)
        if error.errno == errno.EMSGSIZE:
            run.errors[f"too big, mtu {_mtu(raw)}"] = None
        else:
            run.errors[_UNREACHABLE.get(error.errno or 0, str(error.strerror))] = None
        return
    poll = select.poll()
    poll.register(raw, select.POLLIN | select.POLLERR)
    while (left := begun + timeout - time.monotonic()) > 0:
        for _, happened in poll.poll(max(1, int(left * 1000))):
            if happened & select.POLLERR and _errors(raw, run):
                return
            if happened & select.POLLIN and (ttl := _reply(raw, ident, sequence)) is not None:
                run.rtts.append(time.monotonic() - begun)
                run.ttls.append(ttl)
                return


def _reply(raw: socket.socket, ident: int, sequence: int) -> int | None:
    """The TTL of the answer waited for, or None if what came is something else."""
    try:
        data, ancillary, _, _ = raw.recvmsg(1 << 16, 64)
    except OSError:  # an error that the queue tells more about
        return None
    if raw.family == socket.AF_INET:
        ttl, data = data[8], data[(data[0] & 15) * 4 :]
        reply = icmp.ECHO_REPLY
    else:
        ttl = next((struct.unpack("=i", value)[0] for _, kind, value in ancillary if kind == socket.IPV6_HOPLIMIT), 0)
        reply = icmpv6.ECHO_REPLY
    if len(data) < 8 or data[0] != reply or struct.unpack("!HH", data[4:8]) != (ident, sequence):
        return None
    return ttl


def _errors(raw: socket.socket, run: _Run) -> bool:
    """Empties the error queue; whether there was something in it."""
    found = False
    while True:
        try:
            _, ancillary, _, _ = raw.recvmsg(1 << 16, 512, _MSG_ERRQUEUE)
        except OSError:
            return found
        for _, kind, data in ancillary:
            if kind in (_IP_RECVERR, _IPV6_RECVERR) and len(data) >= 16:
                found = True
                code, info = struct.unpack("=I4xI", data[:12])
                if code == errno.EMSGSIZE:
                    run.errors[f"too big, mtu {info}"] = None
                else:
                    run.errors[_UNREACHABLE.get(code, os.strerror(code))] = None


def _mtu(raw: socket.socket) -> int:
    if raw.family == socket.AF_INET:
        return raw.getsockopt(socket.IPPROTO_IP, _IP_MTU)
    return raw.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
