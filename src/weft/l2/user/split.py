"""One big TCP frame → a train of datagrams: headers, sequence numbers and checksums of all of them at once.

What a NIC's TCP segmentation offload does (Linux: net/ipv4/tcp_offload.c), in a dozen passes over arrays, whatever the
number of segments. Row i of a table of octets is datagram i, encapsulation first; columns are filled for all rows.
"""

from __future__ import annotations

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


class Train(NamedTuple):
    """`data`: datagrams of `size` octets one behind the other, the last one maybe shorter."""

    data: Octets
    size: int
    segments: int


def split(frame: memoryview, offload: Offload, front: bytes, framing: Framing = VXLAN) -> Train | None:
    """The train for a frame of GSO_TCPV4 or GSO_TCPV6; None where frame and offload header don't fit together.

    `front`: the encapsulation before every segment, an even number of octets.
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
    base, width = len(front), len(front) + head + mss
    last = length - (count - 1) * mss
    shape = Shape(version, base + ip, base + tcp, base + head, mss, last)
    first = _first(front + frame[:head], shape)
    rows = np.empty((count, width + (width & 1)), np.uint8)
    rows[:, : shape.payload] = np.frombuffer(first, np.uint8)
    put_payload(rows, np.frombuffer(frame[head:], np.uint8), shape)
    _numbers(rows, first, frame[tcp + 13], shape)
    if width & 1:  # the rows were padded to whole words for the sums
        rows = np.ascontiguousarray(rows[:, :width])
    return Train(rows.reshape(-1)[: count * width - mss + last], width, count)


class Shape(NamedTuple):
    """Offsets in a datagram, `upper` that of TCP's or UDP's header; octets of payload in all segments but the last, and
    in the last."""

    version: int
    ip: int
    upper: int
    payload: int
    mss: int
    last: int


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
        made[ip + 2 : ip + 4] = (shape.payload - ip + shape.mss).to_bytes(2, "big")
        made[ip + 10 : ip + 12] = b"\0\0"
    else:
        made[ip + 4 : ip + 6] = (shape.payload - ip - 40 + shape.mss).to_bytes(2, "big")
    made[tcp + 13] &= 0xFF ^ (_FIN | _PSH | _CWR)
    made[tcp + 16 : tcp + 18] = b"\0\0"
    return made


def put_payload(rows: Octets, payload: Octets, shape: Shape) -> None:
    full, at, mss, last = len(rows) - 1, shape.payload, shape.mss, shape.last
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


def _numbers(rows: Octets, first: bytearray, flags: int, shape: Shape) -> None:
    """Fills what differs: sequence numbers, identifications that count up, checksums, flags and lengths at the ends.

    FIN and PSH stand on the last segment only, CWR on the first only.
    """
    _, ip, tcp, payload, mss, last = shape
    count, shorter = len(rows), shape.mss - shape.last
    columns = rows.view(_columns(shape.version, ip, tcp, rows.shape[1]))[:, 0]
    if shape.version == 4:
        numbers = total(first[ip + 4 : ip + 6]) + INDEX[:count] & 0xFFFF
        columns["identification"] = numbers
        numbers += (total(first[ip:tcp]) - total(first[ip + 4 : ip + 6])) % MODULUS
        numbers[-1] -= shorter
        columns["header_checksum"] = complement(numbers)
    numbers = total(first[tcp + 4 : tcp + 8]) + INDEX[:count] * mss & 0xFFFFFFFF
    columns["sequence"] = numbers
    addresses = first[ip + 12 : ip + 20] if shape.version == 4 else first[ip + 8 : ip + 40]
    constant = (
        total(addresses) + _TCP + payload - tcp + mss + total(first[tcp:payload]) - total(first[tcp + 4 : tcp + 8])
    )
    numbers += sums(rows[:, payload:])
    numbers += constant % MODULUS
    numbers[0] += flags & _CWR
    numbers[-1] += (flags & (_FIN | _PSH)) - shorter
    columns["checksum"] = complement(numbers)
    rows[0, tcp + 13] |= flags & _CWR
    rows[-1, tcp + 13] |= flags & (_FIN | _PSH)
    if shorter:
        at, before = (ip + 2, ip) if shape.version == 4 else (ip + 4, ip + 40)
        rows[-1, at], rows[-1, at + 1] = divmod(payload + last - before, 256)


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
