"""One big TCP frame → a train of datagrams: headers, sequence numbers and checksums of all of them at once.

What a NIC's TCP segmentation offload does (Linux: net/ipv4/tcp_offload.c), in a dozen passes over arrays, whatever the
number of segments. Row i of a table of octets is datagram i, encapsulation first; columns are filled for all rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from weft.l2.user import vnet
from weft.l2.user.checksums import Numbers, Octets, column, complement, sums, total
from weft.l2.user.framing import VXLAN, Framing
from weft.l2.user.vnet import Offload
from weft.wire.checksum import checksum

_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_TCP = 6
SEGMENTS_MAX = 1024  # a frame that asks for more is not worth the work
_FRAME_MAX = 65536 + 64
_INDEX = np.arange(SEGMENTS_MAX, dtype=np.int64)


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
    ip = _ip_offset(frame, version, framing)
    if ip is None or not mss or tcp < ip + (20 if version == 4 else 40) or tcp + 20 > len(frame) or tcp & 1:
        return None
    head = tcp + (frame[tcp + 12] >> 4) * 4
    length = len(frame) - head
    count = max(1, -(-length // mss))
    if head < tcp + 20 or length < 0 or count > SEGMENTS_MAX or len(frame) > _FRAME_MAX:
        return None
    base, width = len(front), len(front) + head + mss
    rows = np.empty((count, width + (width & 1)), np.uint8)
    rows[:, : base + head] = np.frombuffer(front + frame[:head], np.uint8)
    last = length - (count - 1) * mss
    _payload(rows, np.frombuffer(frame[head:], np.uint8), base + head, mss, last)
    lengths = np.full(count, mss, np.int64)
    lengths[-1] = last
    _ip_headers(rows, base + ip, version, frame[ip:tcp], lengths + (head - ip))
    addresses = frame[ip + 12 : ip + 20] if version == 4 else frame[ip + 8 : ip + 40]
    pseudo = total(addresses) % 0xFFFF + _TCP
    _tcp_headers(rows, base + tcp, mss, frame[tcp:head], lengths + (head - tcp + pseudo))
    if width & 1:  # the rows were padded to whole words for the sums
        rows = np.ascontiguousarray(rows[:, :width])
    return Train(rows.reshape(-1)[: count * width - mss + last], width, count)


def _ip_offset(frame: memoryview, version: int, framing: Framing) -> int | None:
    """Where the IP header starts, behind Ethernet and one VLAN tag maybe; None if it is not of this version."""
    if len(frame) < 40:
        return None
    at = 0 if not framing.link else 18 if frame[12] == 0x81 and frame[13] == 0 else 14
    return at if frame[at] >> 4 == version else None


def _payload(rows: Octets, payload: Octets, at: int, mss: int, last: int) -> None:
    full = len(rows) - 1
    rows[:full, at : at + mss] = payload[: full * mss].reshape(full, mss)
    rows[full, at : at + last] = payload[full * mss :]
    rows[full, at + last :] = 0
    if rows.shape[1] > at + mss:
        rows[:, at + mss] = 0


def _ip_headers(rows: Octets, at: int, version: int, header: memoryview, lengths: Numbers) -> None:
    """Lengths, and for IPv4 identifications that count up and header checksums."""
    if version == 6:
        column(rows, at + 4, 2)[:] = lengths - 40
        return
    ident = (header[4] << 8 | header[5]) + _INDEX[: len(rows)] & 0xFFFF
    column(rows, at + 2, 2)[:] = lengths
    column(rows, at + 4, 2)[:] = ident
    rest = total(header[:2]) + total(header[6:10]) + total(header[12:])
    column(rows, at + 10, 2)[:] = complement(lengths + ident + rest % 0xFFFF)


def _tcp_headers(rows: Octets, at: int, mss: int, header: memoryview, pseudo: Numbers) -> None:
    """Sequence numbers; FIN and PSH on the last one only, CWR on the first only; checksums over everything."""
    count = len(rows)
    column(rows, at + 4, 4)[:] = total(header[4:8]) + _INDEX[:count] * mss & 0xFFFFFFFF
    if header[13] & (_FIN | _PSH | _CWR):
        flags = rows[:, at + 13]
        flags[:-1] &= 0xFF ^ (_FIN | _PSH)
        flags[1:] &= 0xFF ^ _CWR
    found = column(rows, at + 16, 2)
    found[:] = 0
    found[:] = complement(sums(rows[:, at:]) + pseudo)


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
