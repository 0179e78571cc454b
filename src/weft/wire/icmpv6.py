"""ICMPv6 (RFC 4443): header, echo and errors; MLD (RFC 2710, RFC 3810) is recognised, neighbor discovery is `nd`."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from weft.wire import ip
from weft.wire.address import ip_text
from weft.wire.checksum import PseudoHeader
from weft.wire.errors import fits, need
from weft.wire.icmp import Answer, Outcome
from weft.wire.igmp import record_groups
from weft.wire.quote import Quote

UNREACHABLE = 1
PACKET_TOO_BIG = 2
TIME_EXCEEDED = 3
PARAMETER_PROBLEM = 4
ECHO_REQUEST = 128
ECHO_REPLY = 129
MLD_QUERY = 130
MLD_REPORT = 131
MLD_DONE = 132
MLD2_REPORT = 143
ERRORS = frozenset({UNREACHABLE, PACKET_TOO_BIG, TIME_EXCEEDED, PARAMETER_PROBLEM})
MLD = frozenset({MLD_QUERY, MLD_REPORT, MLD_DONE, MLD2_REPORT})

_HEADER = struct.Struct("!BBHI")
_OUTCOMES = {
    UNREACHABLE: Outcome.UNREACHABLE,
    PACKET_TOO_BIG: Outcome.TOO_BIG,
    TIME_EXCEEDED: Outcome.TIME_EXCEEDED,
}


@dataclass(frozen=True, slots=True)
class Icmpv6:
    """An ICMPv6 header with the 4 bytes behind it, which every message has: `word`, whose meaning depends on `type`."""

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
        """The next hop's MTU if a packet was too big, otherwise 0."""
        return self.word if self.type == PACKET_TOO_BIG else 0

    def encode(self, payload: bytes, pseudo: PseudoHeader) -> bytes:
        """The message, checksum computed."""
        kind, code = fits("icmpv6", 0, "type", self.type, 8), fits("icmpv6", 1, "code", self.code, 8)
        message = _HEADER.pack(kind, code, 0, fits("icmpv6", 4, "second word", self.word, 32)) + payload
        return message[:2] + pseudo.checksum(ip.ICMPV6, message).to_bytes(2, "big") + message[4:]

    @classmethod
    def decode(cls, data: bytes) -> tuple[Icmpv6, bytes]:
        """The header and what follows its word."""
        need("icmpv6", data, 8)
        kind, code, found, word = _HEADER.unpack_from(data)
        return cls(kind, code, word, found), data[8:]


def echo_request(ident: int, seq: int, payload: bytes, pseudo: PseudoHeader) -> bytes:
    """A whole ICMPv6 echo request; `ident` and `seq` are 16 bits."""
    word = fits("icmpv6", 4, "identifier", ident, 16) << 16 | fits("icmpv6", 6, "sequence number", seq, 16)
    return Icmpv6(ECHO_REQUEST, 0, word).encode(payload, pseudo)


def answer(message: bytes) -> Answer | None:
    """What an ICMPv6 message (no IPv6 header before it) answers; None if it answers no echo. Raises WireError."""
    header, rest = Icmpv6.decode(message)
    if header.type == ECHO_REPLY:
        return Answer(Outcome.REPLY, header.ident, header.seq, payload=rest)
    if header.type not in _OUTCOMES:
        return None
    quote, _ = Quote.decode(rest)
    if quote.ident is None or quote.seq is None:
        return None
    return Answer(_OUTCOMES[header.type], quote.ident, quote.seq, header.code, header.mtu)


def groups(header: Icmpv6, rest: bytes) -> tuple[str, ...]:
    """The groups an MLD message speaks of; of a damaged one those before the damage, of others none."""
    if header.type == MLD2_REPORT:
        return record_groups(rest, header.word & 0xFFFF, 16)
    if header.type not in MLD or len(rest) < 16 or not any(rest[:16]):
        return ()
    return (ip_text(rest[:16]),)
