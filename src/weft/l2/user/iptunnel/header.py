"""The IPv4 header of a packet in a buffer, looked at and changed in place (RFC 791)."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

_Fields = Callable[[bytearray | memoryview, int], tuple[int, ...]]

HEADER = 20
_TCP = 6
_LENGTHS: _Fields = Struct(">BxH").unpack_from  # version and header's length, total length
_HOP = Struct(">BBH")  # TTL, protocol, checksum
_ADDRESS: _Fields = Struct(">I").unpack_from


def sound(packet: bytearray | memoryview, beyond: int = 0) -> bool:
    """Whether this is an IPv4 packet whose header and stated length are there, `beyond` octets of it elsewhere; its
    checksum is the stack's to judge."""
    if len(packet) < HEADER:
        return False
    first, length = _LENGTHS(packet, 0)
    return first >> 4 == 4 and HEADER <= (first & 15) * 4 <= length <= len(packet) + beyond


def tcp(packet: bytearray | memoryview) -> bool:
    """Whether TCP's header stands right behind IPv4's, if there is so much."""
    return packet[0] == 0x45 and packet[9] == _TCP and not packet[6] & 0x3F


def source(packet: bytearray | memoryview) -> int:
    return _ADDRESS(packet, 12)[0]


def destination(packet: bytearray | memoryview) -> int:
    return _ADDRESS(packet, 16)[0]


def forward(packet: bytearray | memoryview) -> bool:
    """Takes one off the TTL; False: it may not go on (RFC 1812 section 5.3.1).

    The checksum grows by what the TTL lost (RFC 1141), so that a wrong one stays wrong; 0xffff is 0 (RFC 1624).
    """
    ttl, protocol, checksum = _HOP.unpack_from(packet, 8)
    if ttl <= 1:
        return False
    checksum += 0x0100
    _HOP.pack_into(packet, 8, ttl - 1, protocol, (checksum + (checksum >= 0xFFFF)) & 0xFFFF)
    return True
