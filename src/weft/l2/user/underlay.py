"""The underlay's side: UDP sockets of one VTEP address and UDP port, for trains of datagrams (udp(7)).

In: one socket on the VTEP address, and one for each multicast group, with UDP_GRO: the kernel hands over datagrams of
one flow and size as a train. Out: sockets with source ports of their own, among which the inner flow's hash chooses
(RFC 7348 section 5: entropy); UDP_SEGMENT sends a train with one call. The kernel computes outer checksums, which are
never zero here. "Don't fragment" is set (RFC 7348 section 4.3: VTEPs must not fragment), TTL is 64, for groups too.
Where a protocol has one port at both ends (flannel's), one socket does both.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from weft.model.errors import Kind, WeftError
from weft.netlink import outside

SOURCE_PORTS = 16
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_IP_MULTICAST_ALL, _IP_RECVTOS, _IP_MTU_DISCOVER, _PMTUDISC_WANT, _PMTUDISC_PROBE = 49, 13, 10, 1, 3
_IPV6_RECVTCLASS, _IPV6_TCLASS, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG, _IPV6_MULTICAST_ALL = 66, 67, 23, 62, 29
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
RECEIVE = 8 << 20  # octets that may wait
_PAYLOAD_MAX = 65507 - 20  # of one send: 65,535 less IPv6 and UDP headers
_TRAIN_MAX = 64  # datagrams of one send (UDP_MAX_SEGMENTS of older kernels)
_TTL = 64
_TRAIN_TOO_BIG = (errno.EINVAL, errno.EMSGSIZE)  # what older and newer kernels say where datagrams don't fit the path

Buffers = Sequence[bytes | bytearray | memoryview]
Ancillary = tuple[tuple[int, int, bytes], ...]


class Arrival(NamedTuple):
    """`octets` in the buffer, in datagrams of `size` each (the last may be shorter), from `vtep`; `tos`: outer."""

    octets: int
    size: int
    vtep: str
    tos: int


class Underlay:
    """Made in the namespace of the calling thread. Raises WeftError where the address or port can't be had.

    `entropy` False: what is sent leaves by `port` too. `fragment`: "don't fragment" is set as long as the path is known
    to carry a datagram; otherwise it is fragmented.
    """

    def __init__(
        self, vtep: str, port: int, entropy: bool = True, fragment: bool = False, lender: str | None = None
    ) -> None:
        self.vtep, self.port, self._fragment, self._lender = vtep, port, fragment, lender
        self._ipv6 = ":" in vtep
        self._family = socket.AF_INET6 if self._ipv6 else socket.AF_INET
        self.groups: dict[str, socket.socket] = {}
        self._told: list[tuple[int, int, bytes]] = []  # what came beside the last datagrams, and what it means
        self._means = (0, 0)
        self.unicast = self._receiver(vtep)
        self._senders = [self._sender() for _ in range(SOURCE_PORTS)] if entropy else [self._sending(self.unicast)]
        self.trains = all(_offers(sender, _UDP_SEGMENT) for sender in self._senders[:1])

    def _socket(self) -> socket.socket:
        made = outside.make(self._lender, self._family, socket.SOCK_DGRAM)
        made.setblocking(False)
        return made

    def _receiver(self, address: str) -> socket.socket:
        receiver = self._socket()
        try:
            _room(receiver, _SO_RCVBUFFORCE, socket.SO_RCVBUF)
            if self._ipv6:
                receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                receiver.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVTCLASS, 1)
            else:
                receiver.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
            _offers(receiver, _UDP_GRO, 1)
            receiver.bind((address, self.port))
        except OSError as error:
            receiver.close()
            raise _failure(error, f"{address} port {self.port}") from error
        return receiver

    def _sender(self) -> socket.socket:
        sender = self._socket()
        try:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # nothing is awaited here
            self._sending(sender)
            sender.bind((self.vtep, 0))
        except OSError as error:
            sender.close()
            raise _failure(error, self.vtep) from error
        return sender

    def _sending(self, sender: socket.socket) -> socket.socket:
        _room(sender, _SO_SNDBUFFORCE, socket.SO_SNDBUF)
        discover = _PMTUDISC_WANT if self._fragment else _PMTUDISC_PROBE
        if self._ipv6:
            sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, discover)
            sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, not self._fragment)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, _TTL)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _TTL)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        else:
            sender.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, discover)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, _TTL)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(self.vtep))
        return sender

    @property
    def source_ports(self) -> list[int]:
        return [sender.getsockname()[1] for sender in self._senders]

    def join(self, group: str, interface: int) -> socket.socket:
        """Listens to a group on the interface with this index; the socket to wait on. Raises WeftError."""
        if group in self.groups:
            return self.groups[group]
        receiver = self._receiver(group)
        packed = ipaddress.ip_address(group).packed
        try:
            if self._ipv6:
                request = packed + struct.pack("=I", interface)
                receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
                receiver.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
                for sender in self._senders:
                    sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface)
            else:
                receiver.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
                request = packed + socket.inet_aton(self.vtep) + struct.pack("=i", interface)
                receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        except OSError as error:
            receiver.close()
            remedy = "sysctl -w net.ipv4.igmp_max_memberships=1024" if error.errno == errno.ENOBUFS else ""
            words = (error.strerror or "").lower()
            raise WeftError(Kind.FAILED, f"cannot join the group: {words}", where=group, remedy=remedy) from error
        self.groups[group] = receiver
        return receiver

    def leave(self, group: str) -> None:
        if receiver := self.groups.pop(group, None):
            receiver.close()

    def receive(self, receiver: socket.socket, buffer: memoryview) -> Arrival | None:
        """What came next; None: nothing waits. Raises OSError."""
        try:
            octets, ancillary, _, source = receiver.recvmsg_into([buffer], 128)
        except BlockingIOError:
            return None
        if ancillary != self._told:
            self._told, self._means = ancillary, _means(ancillary)
        size, tos = self._means
        return Arrival(octets, size or octets, source[0], tos)

    def send(self, bucket: int, vtep: str, parts: Buffers, tos: int) -> None:
        """One datagram. Raises OSError; EMSGSIZE: the underlay does not carry it."""
        self._senders[bucket % len(self._senders)].sendmsg(parts, _mark(self._ipv6, tos), 0, (vtep, self.port))

    def send_train(self, bucket: int, vtep: str, data: memoryview, size: int, tos: int) -> None:
        """Datagrams of `size` octets, the last maybe shorter, in as few calls as the kernel takes. Raises OSError."""
        step = self.most(size)
        for at in range(0, len(data), step):
            part = data[at : at + step]
            self.send_segments(bucket, vtep, [part], len(part), size, tos)

    def most(self, size: int) -> int:
        """Octets of as many datagrams of `size` as the kernel takes in one call."""
        return min(_TRAIN_MAX, _PAYLOAD_MAX // size) * size if self.trains else size

    def send_segments(self, bucket: int, vtep: str, parts: Buffers, octets: int, size: int, tos: int) -> None:
        """Datagrams of `size` octets, the last maybe shorter, in one call; all parts together have `octets`, `most` of
        them. Raises OSError."""
        sender, to = self._senders[bucket % len(self._senders)], (vtep, self.port)
        mark = _mark(self._ipv6, tos)
        try:
            sender.sendmsg(parts, _cut(self._ipv6, tos, size) if octets > size else mark, 0, to)
        except OSError as error:
            if error.errno not in _TRAIN_TOO_BIG or not self._fragment or octets <= size:
                raise
            whole = b"".join(parts)
            for at in range(0, octets, size):  # the path carries less: no train, but fragments
                sender.sendmsg([whole[at : at + size]], mark, 0, to)

    def close(self) -> None:
        for each in (self.unicast, *self.groups.values(), *self._senders):
            each.close()


@lru_cache(maxsize=64)
def _mark(ipv6: bool, tos: int) -> Ancillary:
    if not tos:
        return ()
    level, kind = (socket.IPPROTO_IPV6, _IPV6_TCLASS) if ipv6 else (socket.IPPROTO_IP, socket.IP_TOS)
    return ((level, kind, struct.pack("=i", tos)),)


@lru_cache(maxsize=4096)
def _cut(ipv6: bool, tos: int, size: int) -> Ancillary:
    return (*_mark(ipv6, tos), (_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", size)))


_TOS = {(socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, _IPV6_TCLASS)}


def _means(ancillary: Iterable[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Octets of a train's datagrams, 0 where none came; the outer TOS."""
    size, tos = 0, 0
    for level, kind, data in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            size = int.from_bytes(data[:4], sys.byteorder)
        elif (level, kind) in _TOS:
            tos = data[0] if len(data) == 1 else int.from_bytes(data[:4], sys.byteorder)
    return size, tos


def _offers(of: socket.socket, option: int, value: int = 0) -> bool:
    """Whether the kernel knows an option of UDP sockets."""
    try:
        of.setsockopt(_SOL_UDP, option, value)
    except OSError:
        return False
    return True


def _room(of: socket.socket, force: int, plain: int) -> None:
    """Sizes a queue; who may not, within the host's limit (net.core.rmem_max and wmem_max)."""
    try:
        of.setsockopt(socket.SOL_SOCKET, force, RECEIVE)
    except PermissionError:
        of.setsockopt(socket.SOL_SOCKET, plain, RECEIVE)


def offers() -> dict[str, bool]:
    """Which of the two offloads of UDP sockets this kernel has, and whether a socket may hold as much as we want."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        _room(probe, _SO_RCVBUFFORCE, socket.SO_RCVBUF)
        held = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel tells twice the octets
        return {
            "UDP_SEGMENT": _offers(probe, _UDP_SEGMENT),
            "UDP_GRO": _offers(probe, _UDP_GRO, 1),
            "room": held >= RECEIVE,
        }


def _failure(error: OSError, where: str) -> WeftError:
    remedy = ""
    if error.errno == errno.EADDRNOTAVAIL:
        remedy = "give this host its VTEP address, or correct `vtep:`"
    elif error.errno == errno.EADDRINUSE:
        remedy = "another program, or the kernel's VXLAN, has this UDP port here"
    words = (error.strerror or "").lower()
    return WeftError(Kind.FAILED, f"cannot open the VTEP's sockets: {words}", where=where, remedy=remedy)
