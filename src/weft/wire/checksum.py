"""The Internet checksum (RFC 1071) and the pseudo headers it covers (RFC 768, RFC 8200 section 8.1).

The one's complement sum of 16-bit words is the data, read as one number, modulo 65535: 2**16 leaves the remainder 1, so
every word weighs the same. Python's big integers do that in two C loops.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.wire.address import ipv4_bytes, ipv6_bytes
from weft.wire.errors import fits


def checksum(data: bytes) -> int:
    """The 16-bit checksum of `data` (odd length: a zero byte follows). Over data with a right checksum it is 0."""
    number = int.from_bytes(data, "big")
    if len(data) % 2:
        number <<= 8
    # Modulo gives 0 where folding carries gives 0xffff, unless all bytes are zero.
    folded = number % 0xFFFF or (0xFFFF if number else 0)
    return ~folded & 0xFFFF


@dataclass(frozen=True, slots=True)
class PseudoHeader:
    """The addresses a UDP, TCP or ICMPv6 checksum covers; both IPv4 or both IPv6, as text."""

    src: str
    dst: str

    def encode(self, protocol: int, length: int) -> bytes:
        """The pseudo header in front of an upper-layer packet of `length` bytes."""
        fits("pseudo-header", 0, "protocol", protocol, 8)
        if ":" in self.src:
            addresses = ipv6_bytes(self.src, "pseudo-header") + ipv6_bytes(self.dst, "pseudo-header", 16)
            return (
                addresses
                + fits("pseudo-header", 32, "length", length, 32).to_bytes(4, "big")
                + bytes((0, 0, 0, protocol))
            )
        addresses = ipv4_bytes(self.src, "pseudo-header") + ipv4_bytes(self.dst, "pseudo-header", 4)
        return addresses + bytes((0, protocol)) + fits("pseudo-header", 10, "length", length, 16).to_bytes(2, "big")

    def checksum(self, protocol: int, segment: bytes) -> int:
        """The checksum of `segment` (header with its checksum field zero, and payload) behind this pseudo header."""
        return checksum(self.encode(protocol, len(segment)) + segment)
