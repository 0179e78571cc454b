"""Big TCP frames → trains of datagrams: headers, sequence numbers and checksums of all of them at once.

What a NIC's TCP segmentation offload does (Linux: net/ipv4/tcp_offload.c), in a dozen passes over arrays, whatever the
number of segments. Row i of a table of octets is datagram i, encapsulation first; columns are filled for all rows.
Frames of one shape go together, since a pass over several costs little more than a pass over one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from weft.l2.user import vnet
from weft.l2.user.checksums import MODULUS, Octets, complement, sums, total
from weft.l2.user.framing import VXLAN, Framing
from weft.l2.user.vnet import Offload
from weft.wire.checksum import checksum

_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_TCP = 6
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
    if ip is None or not mss or tcp < ip + (20 if version == 4 else 40) or tcp + 20 > len(frame) or tcp & 1:
        return None
    head = tcp + (frame[tcp + 12] >> 4) * 4
    length = len(frame) - head
    count = max(1, -(-length // mss))
    if head < tcp + 20 or length < 0 or count > SEGMENTS_MAX or len(frame) > FRAME_MAX:
        return None
    return Shape(version, front + ip, front + tcp, front + head, count, mss, length - (count - 1) * mss)


def split(frame: memoryview, offload: Offload, front: bytes, framing: Framing = VXLAN) -> Train | None:
    """The train for one frame; None where frame and offload header don't fit together."""
    shape = shape_of(frame, offload, len(front), framing)
    return None if shape is None else split_all([frame], front, shape)


def split_all(frames: Sequence[memoryview], front: bytes, shape: Shape) -> Train:
    """One train for frames that all have this shape; more than one only where it is full.

    Passes cost about the same for one frame and for several.
    """
    many, count, width, head = len(frames), shape.segments, shape.size, shape.payload - len(front)
    padded = width + (width & 1)  # whole words for the sums
    rows = np.empty((many, count, padded), np.uint8)
    firsts = [_first(front + frame[:head], shape) for frame in frames]
    rows[:, :, : shape.payload] = np.frombuffer(b"".join(firsts), np.uint8).reshape(many, 1, shape.payload)
    for row, frame in zip(rows, frames, strict=True):
        put_payload(row, np.frombuffer(frame[head:], np.uint8), shape)
    _numbers(rows, firsts, [frame[head - shape.payload + shape.upper + 13] for frame in frames], shape)
    flat = rows.reshape(many * count, padded)
    if width & 1:
        flat = np.ascontiguousarray(flat[:, :width])
    return Train(flat.reshape(-1)[: many * count * width - shape.mss + shape.last], width, many * count)


def ip_offset(frame: memoryview, version: int, framing: Framing) -> int | None:
    """Where the IP header starts, behind Ethernet and one VLAN tag maybe; None if it is not of this version."""
    if len(frame) < 40:
        return None
    at = 0 if not framing.link else 18 if frame[12] == 0x81 and frame[13] == 0 else 14
    return at if frame[at] >> 4 == version else None


def _first(header: bytes, shape: Shape) -> bytearray:
    """The headers that all segments start from: of full length, without checksums, flags only that all of them bear."""
    made, ip, tcp = bytearray(header), shape.ip, shape.upper
    if shape.version == 4:
        made[ip + 2 : ip + 4] = (shape.size - ip).to_bytes(2, "big")
        made[ip + 10 : ip + 12] = b"\0\0"
    else:
        made[ip + 4 : ip + 6] = (shape.size - ip - 40).to_bytes(2, "big")
    made[tcp + 13] &= 0xFF ^ (_FIN | _PSH | _CWR)
    made[tcp + 16 : tcp + 18] = b"\0\0"
    return made


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


@lru_cache(maxsize=256)
def _columns(version: int, ip: int, tcp: int, width: int) -> np.dtype[np.void]:
    """The numbers of a datagram that differ from one to the next."""
    fields = {"sequence": (">u4", tcp + 4), "checksum": (">u2", tcp + 16)}
    if version == 4:
        fields |= {"identification": (">u2", ip + 4), "header_checksum": (">u2", ip + 10)}
    formats, offsets = [kind for kind, _ in fields.values()], [at for _, at in fields.values()]
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": width})


def _numbers(rows: Octets, firsts: Sequence[bytearray], flags: Sequence[int], shape: Shape) -> None:
    """Fills what differs: sequence numbers, identifications that count up, checksums, flags and lengths at the ends.

    `rows` are datagrams by frame. FIN and PSH stand on a frame's last segment only, CWR on its first only.
    """
    version, ip, tcp, payload, count, mss, last = shape
    shorter, index = mss - last, INDEX[:count]
    columns = rows.view(_columns(version, ip, tcp, rows.shape[2]))[:, :, 0]
    told = np.array([_told(first, shape) for first in firsts], np.int64)
    if version == 4:
        numbers = told[:, 0:1] + index & 0xFFFF
        columns["identification"] = numbers
        numbers += told[:, 1:2]
        if shorter:
            numbers[:, -1] -= shorter
        columns["header_checksum"] = complement(numbers)
    numbers = told[:, 2:3] + index * mss & 0xFFFFFFFF
    columns["sequence"] = numbers
    numbers += sums(rows[:, :, payload:])
    numbers += told[:, 3:4]
    for which, bits in enumerate(flags):
        if bits & (_FIN | _PSH | _CWR):
            numbers[which, 0] += bits & _CWR
            numbers[which, -1] += bits & (_FIN | _PSH)
            rows[which, 0, tcp + 13] |= bits & _CWR
            rows[which, -1, tcp + 13] |= bits & (_FIN | _PSH)
    if shorter:
        numbers[:, -1] -= shorter
        at, before = (ip + 2, ip) if version == 4 else (ip + 4, ip + 40)
        rows[:, -1, at], rows[:, -1, at + 1] = divmod(payload + last - before, 256)
    columns["checksum"] = complement(numbers)


def _told(first: bytearray, shape: Shape) -> tuple[int, int, int, int]:
    """The first identification, the IPv4 header's sum without it, the first sequence number, TCP's sum without that
    and payload, pseudo header included."""
    version, ip, tcp, payload = shape[:4]
    ident, header = (total(first[ip + 4 : ip + 6]), total(first[ip:tcp])) if version == 4 else (0, 0)
    addresses = first[ip + 12 : ip + 20] if version == 4 else first[ip + 8 : ip + 40]
    sequence = total(first[tcp + 4 : tcp + 8])
    rest = total(addresses) + _TCP + shape.size - tcp + total(first[tcp:payload]) - sequence
    return ident, (header - ident) % MODULUS, sequence, rest % MODULUS


def finish(frame: memoryview, offload: Offload, framing: Framing = VXLAN) -> bool:
    """Finishes the checksum of one frame, in place (NEEDS_CSUM); False where the offload header points outside."""
    at = offload.start + offload.offset
    if at + 2 > len(frame) or offload.start < framing.link:
        return False
    value = checksum(bytes(frame[offload.start :]))
    if not value and offload.offset == 6:  # UDP: zero would say that there is no checksum (RFC 768)
        value = 0xFFFF
    frame[at : at + 2] = value.to_bytes(2, "big")
    return True
