"""The IPv4 header of a packet in a buffer, looked at and changed in place (RFC 791)."""

from __future__ import annotations

HEADER = 20


def sound(packet: bytearray | memoryview, beyond: int = 0) -> bool:
    """Whether this is an IPv4 packet whose header and stated length are there, `beyond` octets of it elsewhere; its
    checksum is the stack's to judge."""
    if len(packet) < HEADER or packet[0] >> 4 != 4:
        return False
    return HEADER <= (packet[0] & 15) * 4 <= (packet[2] << 8 | packet[3]) <= len(packet) + beyond


def source(packet: bytearray | memoryview) -> int:
    return int.from_bytes(packet[12:16], "big")


def destination(packet: bytearray | memoryview) -> int:
    return int.from_bytes(packet[16:20], "big")


def forward(packet: bytearray | memoryview) -> bool:
    """Takes one off the TTL; False: it may not go on (RFC 1812 section 5.3.1).

    The checksum grows by what the TTL lost (RFC 1141), so that a wrong one stays wrong.
    """
    if packet[8] <= 1:
        return False
    packet[8] -= 1
    found = (packet[10] << 8 | packet[11]) + 0x0100
    packet[10:12] = ((found & 0xFFFF) + (found >> 16)).to_bytes(2, "big")
    return True
