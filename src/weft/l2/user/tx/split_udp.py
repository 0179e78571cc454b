"""One UDP frame that stands for many datagrams (UDP_SEGMENT of its sender) → a train: as `split`, without sequence.

What a NIC's UDP segmentation offload does (Linux: __udp_gso_segment in net/ipv4/udp_offload.c): every datagram has the
header of the frame with a length, an identification and a checksum of its own. The last one may be shorter.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from weft.l2.user.checksums import MODULUS, Octets, complement, sums, total
from weft.l2.user.framing import VXLAN, Framing
from weft.l2.user.tx.split import FRAME_MAX, INDEX, SEGMENTS_MAX, Shape, Train, ip_offset, leads, put_payload
from weft.l2.user.vnet import Offload

_UDP, _HEADER = 17, 8


def split_udp(frame: memoryview, offload: Offload, front: bytes, framing: Framing = VXLAN) -> Train | None:
    """The train for a frame of GSO_UDP_L4; None where frame and offload header don't fit together.

    `front`: the encapsulation before every datagram, an even number of octets.
    """
    udp, size, head = offload.start, offload.size, offload.start + _HEADER
    found = [(version, ip) for version in (4, 6) if (ip := ip_offset(frame, version, framing)) is not None]
    if not found or not size or udp & 1 or head >= len(frame) or len(frame) > FRAME_MAX:
        return None
    version, ip = found[0]
    count = -(-(len(frame) - head) // size)
    if not leads(frame, version, ip, _UDP, udp) or count > SEGMENTS_MAX:
        return None
    base, width = len(front), len(front) + head + size
    last = len(frame) - head - (count - 1) * size
    shape = Shape(version, base + ip, base + udp, base + head, count, size, last)
    first = _first(front + frame[:head], shape)
    rows = np.empty((count, width + (width & 1)), np.uint8)
    rows[:, : shape.payload] = np.frombuffer(first, np.uint8)
    put_payload(rows, np.frombuffer(frame[head:], np.uint8), shape)
    _numbers(rows, first, shape)
    if width & 1:  # the rows were padded to whole words for the sums
        rows = np.ascontiguousarray(rows[:, :width])
    return Train(rows.reshape(-1)[: count * width - size + last], width, count)


def _first(header: bytes, shape: Shape) -> bytearray:
    """The headers that all datagrams start from: of full length, without checksums."""
    made, ip, udp = bytearray(header), shape.ip, shape.upper
    if shape.version == 4:
        made[ip + 2 : ip + 4] = (shape.payload - ip + shape.mss).to_bytes(2, "big")
        made[ip + 10 : ip + 12] = b"\0\0"
    else:
        made[ip + 4 : ip + 6] = (shape.payload - ip - 40 + shape.mss).to_bytes(2, "big")
    made[udp + 4 : udp + 8] = (_HEADER + shape.mss).to_bytes(2, "big") + b"\0\0"
    return made


@lru_cache(maxsize=256)
def _columns(version: int, ip: int, udp: int, width: int) -> np.dtype[np.void]:
    """The numbers of a datagram that differ from one to the next."""
    fields = {"checksum": (">u2", udp + 6)}
    if version == 4:
        fields |= {"identification": (">u2", ip + 4), "header_checksum": (">u2", ip + 10)}
    formats, offsets = [kind for kind, _ in fields.values()], [at for _, at in fields.values()]
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": width})


def _numbers(rows: Octets, first: bytearray, shape: Shape) -> None:
    """Fills what differs: identifications that count up, checksums, and the lengths of the last one."""
    version, ip, udp, payload, _, size, last = shape
    shorter = size - last
    columns = rows.view(_columns(version, ip, udp, rows.shape[1]))[:, 0]
    if version == 4:
        numbers = total(first[ip + 4 : ip + 6]) + INDEX[: len(rows)] & 0xFFFF
        columns["identification"] = numbers
        numbers += (total(first[ip:udp]) - total(first[ip + 4 : ip + 6])) % MODULUS
        numbers[-1] -= shorter
        columns["header_checksum"] = complement(numbers)
    addresses = first[ip + 12 : ip + 20] if version == 4 else first[ip + 8 : ip + 40]
    numbers = sums(rows[:, payload:])
    numbers += (total(addresses) + _UDP + _HEADER + size + total(first[udp:payload])) % MODULUS
    numbers[-1] -= 2 * shorter  # it stands in the pseudo header and in the header
    found = complement(numbers)
    found[found == 0] = 0xFFFF  # zero would say that there is no checksum (RFC 768)
    columns["checksum"] = found
    if shorter:
        at, before = (ip + 2, ip) if version == 4 else (ip + 4, ip + 40)
        rows[-1, at], rows[-1, at + 1] = divmod(payload + last - before, 256)
        rows[-1, udp + 4], rows[-1, udp + 5] = divmod(_HEADER + last, 256)
