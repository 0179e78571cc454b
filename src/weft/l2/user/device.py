"""What frames of local ports are read from and written to: TAP devices and packet sockets, both with offloads.

A TUN device, which carries bare IP packets, is the same without Ethernet.

Every frame carries the header of weft.l2.user.vnet. A TAP (Documentation/networking/tuntap.rst) with offloads hands
over TCP frames of up to 64 KiB, and UDP frames that stand for many datagrams, with their checksums unfinished, and
takes the same. A packet socket (packet(7)) on any other device does likewise with PACKET_VNET_HDR.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from typing import Protocol

from weft.l2.user import vnet
from weft.model.errors import Kind, WeftError
from weft.netlink import tap
from weft.netlink.namespace import Namespace, entered, socket_in

Buffers = Sequence[bytes | bytearray | memoryview]

_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ, _TUNSETSNDBUF = 0x400454CA, 0x400454D0, 0x400454D8, 0x400454D4
_TUNGETIFF = 0x800454D2
_IFF_TUN, _IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x0002, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_TSO_ECN, _TUN_F_USO4, _TUN_F_USO6 = 1, 2, 4, 8, 32, 64
_TCP_TOO = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN
_UDP_TOO = _TUN_F_USO4 | _TUN_F_USO6

_SOL_PACKET, _ADD_MEMBERSHIP, _AUXDATA, _VNET_HDR, _IGNORE_OUTGOING = 263, 1, 8, 15, 23
_MR_PROMISC = 1
_ETH_P_ALL = 0x0003
_VLAN_VALID, _VLAN_TPID_VALID = 1 << 4, 1 << 6
_AUX = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
_QUEUE = 4 << 20  # octets of frames that may wait in a packet socket


class Device(Protocol):
    """`read` gives the octets put into `buffer` (offload header first); 0: nothing waits. Both raise OSError."""

    fd: int

    def read(self, buffer: memoryview) -> int: ...

    def write(self, parts: Buffers) -> None: ...

    def close(self) -> None: ...

    def name(self) -> str:
        """What it is called now. Raises OSError where it is gone."""


class Tap:
    """A new TAP device `name` in a namespace; it lives as long as this object. Raises WeftError.

    The descriptor works from any namespace, wherever the device is.
    """

    _KIND, _WORD, _MORE = _IFF_TAP, "TAP", _UDP_TOO

    def __init__(self, name: str, namespace: Namespace = None) -> None:
        with entered(namespace):
            try:
                self.fd = os.open(tap.DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as error:
                raise tap.denied(error, name) from error
            try:
                flags = self._KIND | _IFF_NO_PI | _IFF_VNET_HDR
                fcntl.ioctl(self.fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
                fcntl.ioctl(self.fd, _TUNSETVNETHDRSZ, struct.pack("i", vnet.SIZE))
                _offload(self.fd, self._MORE)
            except OSError as error:
                os.close(self.fd)
                words = (error.strerror or "").lower()
                raise WeftError(Kind.FAILED, f"cannot create the {self._WORD} device: {words}", where=name) from error

    def read(self, buffer: memoryview) -> int:
        try:
            return os.readv(self.fd, [buffer])
        except BlockingIOError:
            return 0

    def write(self, parts: Buffers) -> None:
        os.writev(self.fd, parts)

    def close(self) -> None:
        os.close(self.fd)

    def name(self) -> str:
        asked = fcntl.ioctl(self.fd, _TUNGETIFF, bytes(40))  # struct ifreq
        return asked[:16].rstrip(b"\0").decode()


def _offload(fd: int, more: int) -> None:
    """Takes TCP frames of 64 KiB, and, from Linux 6.2 on, UDP frames that stand for many datagrams. Raises OSError."""
    try:
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _TCP_TOO | more)
    except OSError as error:
        if error.errno != errno.EINVAL or not more:
            raise
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _TCP_TOO)


class Tun(Tap):
    """A new TUN device: IP packets without link headers."""

    _KIND, _WORD, _MORE = _IFF_TUN, "TUN", 0


class PacketSocket:
    """All frames that a device of a namespace receives; what is written leaves by it. Raises WeftError."""

    def __init__(self, name: str, namespace: Namespace = None) -> None:
        self._socket = socket_in(namespace, socket.AF_PACKET, socket.SOCK_RAW)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
            self._socket.setsockopt(_SOL_PACKET, _AUXDATA, 1)
            self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _QUEUE)
            with entered(namespace):
                index = socket.if_nametoindex(name)
            request = struct.pack("=iHH8x", index, _MR_PROMISC, 0)
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
            self._socket.bind((name, _ETH_P_ALL))
        except OSError as error:
            self._socket.close()
            words = (error.strerror or "").lower()
            raise WeftError(Kind.FAILED, f"cannot open a packet socket: {words}", where=name) from error
        self.fd = self._socket.fileno()

    def read(self, buffer: memoryview) -> int:
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into([buffer], 64)
        except BlockingIOError:
            return 0
        for level, kind, data in ancillary:
            if (level, kind) == (_SOL_PACKET, _AUXDATA):
                return _retag(buffer, size, data)
        return size

    def write(self, parts: Buffers) -> None:
        try:
            self._socket.sendmsg(parts)
        except OSError as error:
            if error.errno == errno.ENETDOWN:
                raise BlockingIOError from error  # nobody there to take it: a drop, not a fault of ours
            raise

    def close(self) -> None:
        self._socket.close()

    def name(self) -> str:
        found: str = self._socket.getsockname()[0]
        if not found:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return found


def _retag(buffer: memoryview, size: int, aux: bytes) -> int:
    """Puts a VLAN tag back, which the kernel took out of the frame and tells beside it."""
    status, _, _, _, _, tci, tpid = _AUX.unpack_from(aux)
    if not status & _VLAN_VALID:
        return size
    at = vnet.SIZE + 12
    buffer[at + 4 : size + 4] = bytes(buffer[at:size])
    struct.pack_into("!HH", buffer, at, tpid if status & _VLAN_TPID_VALID else 0x8100, tci)
    offload = vnet.decode(buffer)
    if offload.flags & vnet.NEEDS_CSUM:
        moved = offload._replace(start=offload.start + 4, header=offload.header + 4)
        buffer[: vnet.SIZE] = moved.encode()
    return size + 4
