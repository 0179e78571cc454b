"""TCP headers (RFC 9293 section 3.1); options stay raw."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from weft.wire.checksum import PseudoHeader
from weft.wire.errors import WireError, fits, need
from weft.wire.ip import TCP

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
_NAMES = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")

_HEADER = struct.Struct("!HHIIHHHH")


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP header; `flags` are the 12 bits behind the data offset, `options` raw and padded to 4 bytes."""

    src_port: int
    dst_port: int
    seq: int
    ack: int
    flags: int
    window: int
    urgent: int = 0
    options: bytes = b""
    checksum: int = field(default=0, compare=False)

    @property
    def header_length(self) -> int:
        """Bytes before the payload."""
        return 20 + len(self.options)

    @property
    def flag_names(self) -> tuple[str, ...]:
        """The set flags by name, lowest bit first."""
        return tuple(name for bit, name in enumerate(_NAMES) if self.flags >> bit & 1)

    def encode(self, payload: bytes, pseudo: PseudoHeader) -> bytes:
        """The segment, checksum computed."""
        if len(self.options) % 4 or len(self.options) > 40:
            raise WireError("tcp", 20, f"options of {len(self.options)} bytes; pad them to 4, 40 at most")
        segment = (
            _HEADER.pack(
                fits("tcp", 0, "source port", self.src_port, 16),
                fits("tcp", 2, "destination port", self.dst_port, 16),
                fits("tcp", 4, "sequence number", self.seq, 32),
                fits("tcp", 8, "acknowledgment", self.ack, 32),
                self.header_length // 4 << 12 | fits("tcp", 12, "flags", self.flags, 12),
                fits("tcp", 14, "window", self.window, 16),
                0,
                fits("tcp", 18, "urgent pointer", self.urgent, 16),
            )
            + self.options
            + payload
        )
        return segment[:16] + pseudo.checksum(TCP, segment).to_bytes(2, "big") + segment[18:]

    @classmethod
    def decode(cls, data: bytes) -> tuple[Tcp, bytes]:
        """The header and its payload."""
        need("tcp", data, 20)
        src_port, dst_port, seq, ack, word, window, found, urgent = _HEADER.unpack_from(data)
        header = (word >> 12) * 4
        if header < 20:
            raise WireError("tcp", 12, f"header length {header} is below 20")
        need("tcp", data, header)
        value = cls(src_port, dst_port, seq, ack, word & 0xFFF, window, urgent, data[20:header], found)
        return value, data[header:]
