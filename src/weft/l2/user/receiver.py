"""Receiving sockets of the underlay: one on the VTEP address, one for each multicast group.

With UDP_GRO the kernel hands over datagrams of one flow and size as a train. Where several processes forward, they have
one VTEP address and UDP port by SO_REUSEPORT; which of them a datagram is for, weft.l2.user.front.steering says.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

from weft.model.errors import Kind, WeftError
from weft.netlink import outside
from weft.netlink.addresses import Addresses
from weft.netlink.channel import Channel

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
_UDP_NO_CHECK6_RX = 102
ROOM = 8 << 20  # octets that may wait
_IP_MULTICAST_ALL, _IP_RECVTOS, _IPV6_RECVTCLASS, _IPV6_MULTICAST_ALL = 49, 13, 66, 29
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33


class Arrival(NamedTuple):
    """`octets` in the buffer, in datagrams of `size` each (the last may be shorter), from `vtep`; `tos`: outer."""

    octets: int
    size: int
    vtep: str
    tos: int


class Receivers(Protocol):
    """Where an underlay has its receiving sockets from. Both raise WeftError."""

    def unicast(self, vtep: str, port: int) -> socket.socket:
        """Bound to the VTEP address."""

    def group(self, vtep: str, port: int, group: str, interface: int) -> socket.socket:
        """Bound to a group, and a member of it on the device with this index."""

    def own(self, vtep: str, port: int, arrival: Arrival, buffer: memoryview) -> Arrival:
        """What of an arrival, which stands at the buffer's beginning, is for this process."""


class Own:
    """Made here, for this process alone."""

    def __init__(self, lender: str | None = None) -> None:
        self._lender = lender

    def unicast(self, vtep: str, port: int) -> socket.socket:
        return unicast(vtep, port, self._lender)

    def group(self, vtep: str, port: int, group: str, interface: int) -> socket.socket:
        return member(vtep, port, group, interface, self._lender)

    def own(self, vtep: str, port: int, arrival: Arrival, buffer: memoryview) -> Arrival:
        return arrival


def unicast(address: str, port: int, lender: str | None, shared: bool = False) -> socket.socket:
    """`shared`: others may have the same address and port, if they say so too. Raises WeftError."""
    ipv6 = ":" in address
    receiver = outside.make(lender, socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        receiver.setblocking(False)
        room(receiver)
        if ipv6:
            receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            receiver.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVTCLASS, 1)
            offered(receiver, _UDP_NO_CHECK6_RX, 1)  # RFC 7348 section 5: without a checksum, too (RFC 6935)
        else:
            receiver.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
        offered(receiver, UDP_GRO, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        receiver.bind((address, port))
    except OSError as error:
        receiver.close()
        raise failure(error, f"{address} port {port}") from error
    return receiver


def member(
    vtep: str,
    port: int,
    group: str,
    interface: int,
    lender: str | None,
    before: Callable[[socket.socket], None] | None = None,
) -> socket.socket:
    """Of a group on the device with this index, which holds the VTEP address. Raises WeftError.

    With `before` others may have the same group and port; it is called before the group is joined.
    """
    receiver = unicast(group, port, lender, shared=before is not None)
    try:
        if before is not None:
            before(receiver)
        if ":" in group:
            receiver.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
        else:
            receiver.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        enter(receiver, group, interface)
    except OSError as error:
        receiver.close()
        remedy = "sysctl -w net.ipv4.igmp_max_memberships=1024" if error.errno == errno.ENOBUFS else ""
        words = (error.strerror or "").lower()
        raise WeftError(Kind.FAILED, f"cannot join the group: {words}", where=group, remedy=remedy) from error
    return receiver


def enter(receiver: socket.socket, group: str, interface: int, left: int = 0) -> None:
    """Makes a socket a member of its group on the device with this index, and no more on the one that was `left`.
    Raises OSError."""
    level, add, drop = socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.IP_DROP_MEMBERSHIP
    if ":" in group:
        level, add, drop = socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.IPV6_LEAVE_GROUP
    if left:
        with contextlib.suppress(OSError):  # the membership went with the device
            receiver.setsockopt(level, drop, _request(group, left))
    receiver.setsockopt(level, add, _request(group, interface))


def _request(group: str, interface: int) -> bytes:
    """struct ipv6_mreq; struct ip_mreqn."""
    packed = ipaddress.ip_address(group).packed
    if ":" in group:
        return packed + struct.pack("=I", interface)
    return packed + struct.pack("=4xi", interface)


def interface(vtep: str, where: str, lender: str | None) -> int:
    """The index of the device that holds a VTEP address. Raises WeftError."""
    channel = Channel(lender=lender)
    try:
        addresses = Addresses(channel).dump()
    finally:
        channel.close()
    index = next((i for i, texts in addresses.items() if vtep in [t.split("/")[0] for t in texts]), None)
    if index is None:
        what = f"no device of this host holds the VTEP address {vtep}"
        raise WeftError(Kind.FAILED, what, where=where, remedy="add the address to a device")
    return index


def offered(of: socket.socket, option: int, value: int = 0) -> bool:
    """Whether the kernel knows an option of UDP sockets."""
    try:
        of.setsockopt(SOL_UDP, option, value)
    except OSError:
        return False
    return True


def room(of: socket.socket, sending: bool = False) -> None:
    """Sizes a queue; who may not, within the host's limit (net.core.rmem_max and wmem_max)."""
    force, plain = (_SO_SNDBUFFORCE, socket.SO_SNDBUF) if sending else (_SO_RCVBUFFORCE, socket.SO_RCVBUF)
    try:
        of.setsockopt(socket.SOL_SOCKET, force, ROOM)
    except PermissionError:
        of.setsockopt(socket.SOL_SOCKET, plain, ROOM)


def offers() -> dict[str, bool]:
    """Which of the two offloads of UDP sockets this kernel has, and whether a socket may hold as much as we want."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        room(probe)
        held = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel tells twice the octets
        return {
            "UDP_SEGMENT": offered(probe, UDP_SEGMENT),
            "UDP_GRO": offered(probe, UDP_GRO, 1),
            "room": held >= ROOM,
        }


def failure(error: OSError, where: str) -> WeftError:
    """That a socket could not be had."""
    remedy = ""
    if error.errno == errno.EADDRNOTAVAIL:
        remedy = "give this host its VTEP address, or correct `vtep:`"
    elif error.errno == errno.EADDRINUSE:
        remedy = "another program, or the kernel's VXLAN, has this UDP port here"
    words = (error.strerror or "").lower()
    return WeftError(Kind.FAILED, f"cannot open the VTEP's sockets: {words}", where=where, remedy=remedy)
