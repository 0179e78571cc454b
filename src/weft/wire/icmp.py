"""ICMP for IPv4 (RFC 792; the MTU in "fragmentation needed" RFC 1191), and what a ping makes of its answers."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import StrEnum

from weft.wire.checksum import checksum
from weft.wire.errors import fits, need
from weft.wire.quote import Quote

ECHO_REPLY = 0
UNREACHABLE = 3
REDIRECT = 5
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
FRAGMENTATION_NEEDED = 4
ERRORS = frozenset({UNREACHABLE, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM})

_HEADER = struct.Struct("!BBHI")


@dataclass(frozen=True, slots=True)
class Icmp:
    """An ICMP header of 8 bytes; `word` is its second half, whose meaning depends on `type`."""

    type: int
    code: int
    word: int = 0
    checksum: int = field(default=0, compare=False)

    @property
    def header_length(self) -> int:
        """Bytes before the payload."""
        return 8

    @property
    def ident(self) -> int:
        """An echo's identifier."""
        return self.word >> 16

    @property
    def seq(self) -> int:
        """An echo's sequence number."""
        return self.word & 0xFFFF

    @property
    def mtu(self) -> int:
        """The next hop's MTU where fragmentation was needed; 0 otherwise, and from routers older than RFC 1191."""
        return self.word & 0xFFFF if (self.type, self.code) == (UNREACHABLE, FRAGMENTATION_NEEDED) else 0

    def encode(self, payload: bytes = b"") -> bytes:
        """The message, checksum computed."""
        kind, code = fits("icmp", 0, "type", self.type, 8), fits("icmp", 1, "code", self.code, 8)
        message = _HEADER.pack(kind, code, 0, fits("icmp", 4, "second word", self.word, 32)) + payload
        return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]

    @classmethod
    def decode(cls, data: bytes) -> tuple[Icmp, bytes]:
        """The header and its payload: an echo's content, or the packet an error quotes."""
        need("icmp", data, 8)
        kind, code, found, word = _HEADER.unpack_from(data)
        return cls(kind, code, word, found), data[8:]


class Outcome(StrEnum):
    """What became of an echo request."""

    REPLY = "reply"
    UNREACHABLE = "unreachable"
    TOO_BIG = "too big"
    TIME_EXCEEDED = "time exceeded"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to the echo request (`ident`, `seq`), of either family.

    `code` says why for errors, `mtu` (bytes) is set where the request was too big, `payload` is a reply's.
    """

    outcome: Outcome
    ident: int
    seq: int
    code: int = 0
    mtu: int = 0
    payload: bytes = b""


def echo_request(ident: int, seq: int, payload: bytes = b"") -> bytes:
    """A whole ICMP echo request; `ident` and `seq` are 16 bits."""
    word = fits("icmp", 4, "identifier", ident, 16) << 16 | fits("icmp", 6, "sequence number", seq, 16)
    return Icmp(ECHO_REQUEST, 0, word).encode(payload)


def answer(message: bytes) -> Answer | None:
    """What an ICMP message (no IP header before it) answers; None if it answers no echo request. Raises WireError."""
    header, rest = Icmp.decode(message)
    if header.type == ECHO_REPLY:
        return Answer(Outcome.REPLY, header.ident, header.seq, payload=rest)
    if header.type not in (UNREACHABLE, TIME_EXCEEDED):
        return None
    quote, _ = Quote.decode(rest)
    if quote.ident is None or quote.seq is None:
        return None
    outcome = Outcome.TIME_EXCEEDED if header.type == TIME_EXCEEDED else Outcome.UNREACHABLE
    if (header.type, header.code) == (UNREACHABLE, FRAGMENTATION_NEEDED):
        outcome = Outcome.TOO_BIG
    return Answer(outcome, quote.ident, quote.seq, header.code, header.mtu)
