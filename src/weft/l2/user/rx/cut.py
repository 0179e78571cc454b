"""A UDP frame that stands for many datagrams (UDP_SEGMENT of its sender), cut one by one for local ports.

What leaves by tunnels is cut all at once (weft.l2.user.tx.split_udp). Ports are given single datagrams, since a TAP
takes such frames from Linux 6.2 on only.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.l2.user.vnet import Offload
from weft.wire.checksum import checksum

_UDP = 17


def cut(frame: memoryview, offload: Offload) -> Iterator[bytearray]:
    """Frames of one datagram each, checksums finished; none where frame and offload header don't fit together."""
    udp, size = offload.start, offload.size
    ip = 18 if frame[12] == 0x81 and not frame[13] else 14
    head = udp + 8
    if not size or head > len(frame) or udp < ip + 20:
        return
    version = frame[ip] >> 4
    if udp < ip + (20 if version == 4 else 40):
        return
    addresses = bytes(frame[ip + 12 : ip + 20] if version == 4 else frame[ip + 8 : ip + 40])
    ident = frame[ip + 4] << 8 | frame[ip + 5]
    for number, at in enumerate(range(head, len(frame), size)):
        one = bytearray(frame[:head]) + frame[at : at + size]
        length = len(one) - udp
        if version == 4:
            one[ip + 2 : ip + 4] = (len(one) - ip).to_bytes(2, "big")
            one[ip + 4 : ip + 6] = (ident + number & 0xFFFF).to_bytes(2, "big")
            one[ip + 10 : ip + 12] = b"\0\0"
            one[ip + 10 : ip + 12] = checksum(bytes(one[ip:udp])).to_bytes(2, "big")
        else:
            one[ip + 4 : ip + 6] = (len(one) - ip - 40).to_bytes(2, "big")
        one[udp + 4 : udp + 6] = length.to_bytes(2, "big")
        one[udp + 6 : udp + 8] = b"\0\0"
        pseudo = addresses + bytes((0, _UDP)) + length.to_bytes(4, "big")
        one[udp + 6 : udp + 8] = (checksum(pseudo + one[udp:]) or 0xFFFF).to_bytes(2, "big")
        yield one
