"""UDP (RFC 768; zero checksums of tunnels over IPv6 RFC 6935)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from weft.wire.checksum import PseudoHeader
from weft.wire.errors import WireError, fits, need
from weft.wire.ip import UDP

_HEADER = struct.Struct("!HHHH")


@dataclass(frozen=True, slots=True)
class Udp:
    """A UDP header; `length` and `checksum` (0: none) tell what was read and take no part in comparisons."""

    src_port: int
    dst_port: int
    length: int = field(default=0, compare=False)
    checksum: int = field(default=0, compare=False)

    @property
    def header_length(self) -> int:
        """Bytes before the payload."""
        return 8

    def encode(self, payload: bytes = b"", pseudo: PseudoHeader | None = None) -> bytes:
        """The datagram; without a pseudo header the checksum is 0, "none", as VXLAN sends it (RFC 7348 section 5)."""
        header = _HEADER.pack(
            fits("udp", 0, "source port", self.src_port, 16),
            fits("udp", 2, "destination port", self.dst_port, 16),
            fits("udp", 4, "length", 8 + len(payload), 16),
            0,
        )
        if pseudo is None:
            return header + payload
        # A sum of zero is sent as its twin, because zero means that there is none.
        found = pseudo.checksum(UDP, header + payload) or 0xFFFF
        return header[:6] + found.to_bytes(2, "big") + payload

    @classmethod
    def decode(cls, data: bytes, *, partial: bool = False) -> tuple[Udp, bytes]:
        """The header and its payload, cut at the stated length; `partial` accepts less than stated."""
        need("udp", data, 8)
        src_port, dst_port, length, found = _HEADER.unpack_from(data)
        if length < 8:
            raise WireError("udp", 4, f"length {length} is below the header's 8")
        if not partial:
            need("udp", data, length)
        return cls(src_port, dst_port, length, found), data[8:length]
