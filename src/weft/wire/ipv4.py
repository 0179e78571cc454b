"""IPv4 headers (RFC 791; DSCP and ECN as one byte, RFC 2474 and RFC 3168)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from weft.wire.address import ip_text, ipv4_bytes
from weft.wire.checksum import PseudoHeader, checksum
from weft.wire.errors import WireError, fits, need

_HEADER = struct.Struct("!BBHHHBBH4s4s")


@dataclass(frozen=True, slots=True)
class IPv4:
    """An IPv4 header.

    `fragment_offset` is in bytes, a multiple of 8; `options` raw, a multiple of 4 bytes. `length` (header and payload)
    and `checksum` tell what was read; `encode` computes its own, so they take no part in comparisons.
    """

    src: str
    dst: str
    protocol: int
    ttl: int = 64
    tos: int = 0
    identification: int = 0
    dont_fragment: bool = False
    more_fragments: bool = False
    reserved_flag: bool = False
    fragment_offset: int = 0
    options: bytes = b""
    length: int = field(default=0, compare=False)
    checksum: int = field(default=0, compare=False)

    @property
    def header_length(self) -> int:
        """Bytes before the payload."""
        return 20 + len(self.options)

    @property
    def packet_length(self) -> int:
        """Bytes of header and payload, as read."""
        return self.length

    @property
    def fragment(self) -> bool:
        """True for any part of a fragmented packet, the first included."""
        return self.more_fragments or self.fragment_offset > 0

    def pseudo(self) -> PseudoHeader:
        """What an upper-layer checksum covers of this header."""
        return PseudoHeader(self.src, self.dst)

    def encode(self, payload: bytes = b"") -> bytes:
        """The packet, length and header checksum computed."""
        if len(self.options) % 4 or len(self.options) > 40:
            raise WireError("ipv4", 20, f"options of {len(self.options)} bytes; pad them to 4, 40 at most")
        if self.fragment_offset % 8:
            raise WireError("ipv4", 6, f"fragment offset {self.fragment_offset} is not a multiple of 8")
        fragment = fits("ipv4", 6, "fragment offset / 8", self.fragment_offset // 8, 13)
        header = _HEADER.pack(
            0x40 | self.header_length // 4,
            fits("ipv4", 1, "type of service", self.tos, 8),
            fits("ipv4", 2, "length", self.header_length + len(payload), 16),
            fits("ipv4", 4, "identification", self.identification, 16),
            self.reserved_flag << 15 | self.dont_fragment << 14 | self.more_fragments << 13 | fragment,
            fits("ipv4", 8, "TTL", self.ttl, 8),
            fits("ipv4", 9, "protocol", self.protocol, 8),
            0,
            ipv4_bytes(self.src, "ipv4", 12),
            ipv4_bytes(self.dst, "ipv4", 16),
        )
        header += self.options
        return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + payload

    @classmethod
    def decode(cls, data: bytes, *, partial: bool = False) -> tuple[IPv4, bytes]:
        """The header and its payload; what stands behind the packet's own length (padding) is cut off.

        `partial` accepts a packet shorter than its length says, as ICMP errors quote it. The checksum is not judged.
        """
        need("ipv4", data, 20)
        first, tos, length, identification, fragment, ttl, protocol, found, src, dst = _HEADER.unpack_from(data)
        if first >> 4 != 4:
            raise WireError("ipv4", 0, f"version {first >> 4}, not 4")
        header = (first & 15) * 4
        if header < 20:
            raise WireError("ipv4", 0, f"header length {header} is below 20")
        need("ipv4", data, header)
        if length < header:
            raise WireError("ipv4", 2, f"length {length} is below the header's {header}")
        if not partial:
            need("ipv4", data, length)
        value = cls(
            src=ip_text(src),
            dst=ip_text(dst),
            protocol=protocol,
            ttl=ttl,
            tos=tos,
            identification=identification,
            dont_fragment=bool(fragment & 0x4000),
            more_fragments=bool(fragment & 0x2000),
            reserved_flag=bool(fragment & 0x8000),
            fragment_offset=(fragment & 0x1FFF) * 8,
            options=data[20:header],
            length=length,
            checksum=found,
        )
        return value, data[header:length]
