"""Big TCP frames → trains of datagrams: how they are cut, and what of their headers is the same in all datagrams.

What a NIC's TCP segmentation offload does (Linux: net/ipv4/tcp_offload.c); weft.l2.user.tx.table does
it.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

import numpy as np

from weft.l2.user import vnet
from weft.l2.user.checksums import MODULUS, Octets, total
from weft.l2.user.framing import VXLAN, Framing
from weft.l2.user.vnet import Offload
from weft.wire.checksum import checksum

_TCP, _UDP_CHECKSUM = 6, 6
_OPTIONS = (0, 60)  # IPv6's, for each hop and for the destination
_WORD = Struct("!H")
SEGMENTS_MAX = 1024  # a frame that asks for more is not worth the work
FRAME_MAX = 65536 + 64
INDEX = np.arange(SEGMENTS_MAX, dtype=np.int64)


class Shape(NamedTuple):
    """Of a big frame: offsets in its datagrams, `upper` that of TCP's or UDP's header; how many they are; octets of
    payload in all of them but the last, and in the last."""

    version: int
    ip: int
    upper: int
    payload: int
    segments: int
    mss: int
    last: int

    @property
    def size(self) -> int:
        """Octets of a datagram; the last one may be shorter."""
        return self.payload + self.mss

    @property
    def full(self) -> bool:
        """Whether the last datagram is as long as the others."""
        return self.last == self.mss


class Train(NamedTuple):
    """`data`: datagrams of `size` octets one behind the other, the last one maybe shorter."""

    data: Octets
    size: int
    segments: int


def shape_of(frame: memoryview, offload: Offload, front: int, framing: Framing = VXLAN) -> Shape | None:
    """Of a frame of GSO_TCPV4 or GSO_TCPV6; None where frame and offload header don't fit together.

    `front`: octets of encapsulation before every segment, an even number.
    """
    tcp, mss = offload.start, offload.size
    version = 4 if offload.gso & ~vnet.GSO_ECN == vnet.GSO_TCPV4 else 6
    ip = ip_offset(frame, version, framing)
    if ip is None or not mss or tcp + 20 > len(frame) or tcp & 1 or not leads(frame, version, ip, _TCP, tcp):
        return None
    head = tcp + (frame[tcp + 12] >> 4) * 4
    length = len(frame) - head
    count = max(1, -(-length // mss))
    if head < tcp + 20 or length < 0 or count > SEGMENTS_MAX or len(frame) > FRAME_MAX or head - ip + mss > 0xFFFF:
        return None
    return Shape(version, front + ip, front + tcp, front + head, count, mss, length - (count - 1) * mss)


class Sums(NamedTuple):
    """What datagrams of a frame have in common: the IP header's `length`, the sum of an IPv4 `header` without
    identification and checksum, and that of the `pseudo` header, with the source port where that is not summed up with
    the rest (weft.l2.user.tx.table)."""

    length: int
    header: int
    pseudo: int


Cut = tuple[Shape, Sums]


def sums_of(datagram: memoryview, shape: Shape) -> Sums:
    """For a big frame behind its encapsulation."""
    version, ip, tcp = shape[:3]
    pseudo = _TCP + shape.size - tcp + total(datagram[tcp : tcp + tcp % 4])
    if version == 6:
        return Sums(shape.size - ip - 40, 0, (pseudo + total(datagram[ip + 8 : ip + 40])) % MODULUS)
    length = shape.size - ip
    header = total(datagram[ip : ip + 2]) + length + total(datagram[ip + 6 : ip + 10]) + total(datagram[ip + 12 : tcp])
    return Sums(length, header % MODULUS, (pseudo + total(datagram[ip + 12 : ip + 20])) % MODULUS)


def ip_offset(frame: memoryview, version: int, framing: Framing) -> int | None:
    """Where the IP header starts, behind Ethernet and one VLAN tag maybe; None if it is not of this version."""
    if len(frame) < 40:
        return None
    at = 0 if not framing.link else 18 if frame[12] == 0x81 and frame[13] == 0 else 14
    return at if frame[at] >> 4 == version else None


def leads(frame: memoryview, version: int, ip: int, protocol: int, upper: int) -> bool:
    """Whether behind the IP header, with nothing but options between, that of `protocol` stands at `upper`: headers of
    a tunnel, which would have to be cut with the rest, do not."""
    if version == 4:
        return frame[ip + 9] == protocol and ip + 20 <= upper == ip + (frame[ip] & 15) * 4
    kind, at = frame[ip + 6], ip + 40
    while kind in _OPTIONS and at < upper:
        kind, at = frame[at], at + 8 + frame[at + 1] * 8
    return kind == protocol and at == upper


def put_payload(rows: Octets, payload: Octets, shape: Shape) -> None:
    full, at, mss, last = len(rows) - 1, shape.payload, shape.mss, shape.last
    if last == mss:
        rows[:, at : at + mss] = payload.reshape(full + 1, mss)
    else:
        rows[:full, at : at + mss] = payload[: full * mss].reshape(full, mss)
        rows[full, at : at + last] = payload[full * mss :]
        rows[full, at + last :] = 0
    if rows.shape[1] > at + mss:
        rows[:, at + mss] = 0


def finish(frame: memoryview, offload: Offload, framing: Framing = VXLAN) -> bool:
    """Finishes the checksum of one frame, in place (NEEDS_CSUM); False where the offload header points outside."""
    at = offload.start + offload.offset
    if at + 2 > len(frame) or offload.start < framing.link:
        return False
    seal(frame, offload.start, at, len(frame))
    return True


def seal(buffer: memoryview, start: int, at: int, end: int) -> None:
    """Puts `at` its place the checksum over what stands from `start` to `end`."""
    value = checksum(bytes(buffer[start:end]))
    if not value and at - start == _UDP_CHECKSUM:  # zero would say that there is no checksum (RFC 768)
        value = 0xFFFF
    _WORD.pack_into(buffer, at, value)
