"""The underlay's side: UDP sockets of one VTEP address and UDP port, for trains of datagrams (udp(7)).

In: one socket on the VTEP address, and one for each multicast group, with UDP_GRO: the kernel hands over datagrams of
one flow and size as a train. Out: sockets with source ports of their own, among which the inner flow's hash chooses
(RFC 7348 section 5: entropy); UDP_SEGMENT sends a train with one call. The kernel computes outer checksums, which are
never zero here. A route by IPsec takes no trains, nor does, before Linux 6.11, a device that computes no checksums
(EIO; udp_send_skb in net/ipv4/udp.c): they go there as single datagrams. "Don't fragment" is set (RFC 7348 section 4.3:
VTEPs must not fragment), TTL is 64, for groups too. Where a protocol has one port at both ends (flannel's), one socket
does both.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache

from weft.l2.user import receiver as receiving
from weft.l2.user.receiver import SOL_UDP, UDP_GRO, UDP_SEGMENT, Arrival, Own, Receivers
from weft.netlink import outside

SOURCE_PORTS = 16
_IP_MTU_DISCOVER, _PMTUDISC_WANT, _PMTUDISC_PROBE = 10, 1, 3
_IPV6_TCLASS, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG = 67, 23, 62
_PAYLOAD_MAX = 65507 - 20  # of one send: 65,535 less IPv6 and UDP headers
_TRAIN_MAX = 64  # datagrams of one send (UDP_MAX_SEGMENTS of older kernels)
_TTL = 64
_AGAIN = 1000  # trains that go as single datagrams before the next attempt
_TRAIN_TOO_BIG = (errno.EINVAL, errno.EMSGSIZE)  # what older and newer kernels say where datagrams don't fit the path

Buffers = Sequence[bytes | bytearray | memoryview]
Ancillary = tuple[tuple[int, int, bytes], ...]


class Underlay:
    """Made in the namespace of the calling thread. Raises WeftError where the address or port can't be had.

    `entropy` False: what is sent leaves by `port` too. `fragment`: "don't fragment" is set as long as the path is known
    to carry a datagram; otherwise it is fragmented. `receivers`: other than our own.
    """

    def __init__(
        self,
        vtep: str,
        port: int,
        entropy: bool = True,
        fragment: bool = False,
        lender: str | None = None,
        receivers: Receivers | None = None,
    ) -> None:
        self.vtep, self.port, self._fragment, self._lender = vtep, port, fragment, lender
        self._receivers = receivers or Own(lender)
        self._ipv6 = ":" in vtep
        self._family = socket.AF_INET6 if self._ipv6 else socket.AF_INET
        self.groups: dict[str, socket.socket] = {}
        self.device = 0  # index of the one that groups are on
        self._singly: dict[str, int] = {}  # VTEPs that get so many trains as single datagrams
        self._told: list[tuple[int, int, bytes]] = []  # what came beside the last datagrams, and what it means
        self._means = (0, 0)
        self.unicast = self._receivers.unicast(vtep, port)
        self._senders = [self._sender() for _ in range(SOURCE_PORTS)] if entropy else [self._sending(self.unicast)]
        self.trains = all(receiving.offered(sender, UDP_SEGMENT) for sender in self._senders[:1])

    def _sender(self) -> socket.socket:
        sender = outside.make(self._lender, self._family, socket.SOCK_DGRAM)
        try:
            sender.setblocking(False)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # nothing is awaited here
            self._sending(sender)
            sender.bind((self.vtep, 0))
        except OSError as error:
            sender.close()
            raise receiving.failure(error, self.vtep) from error
        return sender

    def _sending(self, sender: socket.socket) -> socket.socket:
        receiving.room(sender, sending=True)
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
        """Listens to a group on the device with this index; the socket to wait on. All groups are on one device. Raises
        WeftError, OSError."""
        if interface != self.device:
            self._move(interface)
        if group not in self.groups:
            self.groups[group] = self._receivers.group(self.vtep, self.port, group, interface)
        return self.groups[group]

    def _move(self, interface: int) -> None:
        """The VTEP address is on this device now. Raises OSError."""
        for group, receiver in self.groups.items():
            receiving.enter(receiver, group, interface, left=self.device)
        for sender in self._senders:
            if self._ipv6:
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface)
            else:
                own = socket.inet_aton(self.vtep)
                sender.setsockopt(
                    socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(4) + own + struct.pack("=i", interface)
                )
        self.device = interface

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
        return self._receivers.own(self.vtep, self.port, Arrival(octets, size or octets, source[0], tos), buffer)

    def send(self, bucket: int, vtep: str, parts: Buffers, tos: int) -> None:
        """One datagram. Raises OSError; EMSGSIZE: the underlay does not carry it."""
        self._senders[bucket % len(self._senders)].sendmsg(parts, _mark(self._ipv6, tos), 0, (vtep, self.port))

    def send_train(self, bucket: int, vtep: str, data: memoryview, size: int, tos: int) -> None:
        """Datagrams of `size` octets, the last maybe shorter, in as few calls as the kernel takes. Raises OSError."""
        if len(data) <= size:
            self.send(bucket, vtep, (data,), tos)
            return
        step = self.most(size)
        if len(data) <= step:
            self.send_segments(bucket, vtep, (data,), len(data), size, tos)
            return
        for at in range(0, len(data), step):
            part = data[at : at + step]
            self.send_segments(bucket, vtep, [part], len(part), size, tos)

    def most(self, size: int) -> int:
        """Octets of as many datagrams of `size` as the kernel takes in one call."""
        return max(1, min(_TRAIN_MAX, _PAYLOAD_MAX // size)) * size if self.trains else size

    def send_segments(self, bucket: int, vtep: str, parts: Buffers, octets: int, size: int, tos: int) -> None:
        """Datagrams of `size` octets, the last maybe shorter, in one call; all parts together have `octets`, `most` of
        them. Raises OSError."""
        sender, to = self._senders[bucket % len(self._senders)], (vtep, self.port)
        if octets <= size:
            sender.sendmsg(parts, _mark(self._ipv6, tos), 0, to)
            return
        if not self._singly.get(vtep):
            try:
                sender.sendmsg(parts, _cut(self._ipv6, tos, size), 0, to)
                return
            except OSError as error:
                if error.errno == errno.EIO:
                    self._singly[vtep] = _AGAIN
                elif error.errno not in _TRAIN_TOO_BIG or not self._fragment:
                    raise  # otherwise the path carries less: no train, but fragments
        else:
            self._singly[vtep] -= 1
        whole = b"".join(parts)
        for at in range(0, octets, size):
            sender.sendmsg([whole[at : at + size]], _mark(self._ipv6, tos), 0, to)

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
    return (*_mark(ipv6, tos), (SOL_UDP, UDP_SEGMENT, struct.pack("=H", size)))


_TOS = {(socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, _IPV6_TCLASS)}


def _means(ancillary: Iterable[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Octets of a train's datagrams, 0 where none came; the outer TOS."""
    size, tos = 0, 0
    for level, kind, data in ancillary:
        if level == SOL_UDP and kind == UDP_GRO:
            size = int.from_bytes(data[:4], sys.byteorder)
        elif (level, kind) in _TOS:
            tos = data[0] if len(data) == 1 else int.from_bytes(data[:4], sys.byteorder)
    return size, tos
