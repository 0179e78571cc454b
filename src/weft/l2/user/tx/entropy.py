"""Source-port entropy (RFC 7348 section 5): which of several UDP sockets an inner flow leaves by.

Routers and NICs of the underlay spread VXLAN over paths and queues by the outer source port. All packets of one inner
flow must keep their order, so they must take one port: addresses and ports of the inner packet decide, where it has
any and all its fragments show them; else the MACs.
"""

from __future__ import annotations

from zlib import crc32

Buffer = bytes | bytearray | memoryview

_TCP, _UDP = 6, 17


def whole(frame: Buffer) -> bool:
    """Whether an IPv4 packet shows ports: TCP or UDP, without options, no fragment."""
    return frame[14] == 0x45 and frame[23] in (_TCP, _UDP) and not (frame[20] & 0x3F or frame[21])


def flow_hash(frame: Buffer) -> int:
    """32 bits out of a frame's flow; a frame may be cut short anywhere."""
    kind = bytes(frame[12:14])
    if kind == b"\x08\x00" and len(frame) >= 38:
        return crc32(frame[26:38] if whole(frame) else frame[26:34])
    if kind == b"\x86\xdd" and len(frame) >= 58:
        return crc32(frame[22:58] if frame[20] in (_TCP, _UDP) else frame[22:54])
    return crc32(frame[0:12])
