"""The packet that an ICMP or ICMPv6 error quotes, as far as it can be told (RFC 792, RFC 4443 section 2.4).

A quote is cut short, down to 8 bytes behind the IP header: enough for ports, or for an echo's identifier and sequence.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from weft.wire import ip

_ECHO_REQUESTS = {(ip.ICMP, 8), (ip.ICMPV6, 128)}


@dataclass(frozen=True, slots=True)
class Quote:
    """Whose packet it was: ports for UDP and TCP, `ident` and `seq` for an echo request, otherwise None."""

    src: str
    dst: str
    protocol: int
    src_port: int | None = None
    dst_port: int | None = None
    ident: int | None = None
    seq: int | None = None

    @classmethod
    def decode(cls, data: bytes) -> tuple[Quote, bytes]:
        """The quote, and what it holds of the quoted packet's payload."""
        header, rest = ip.decode(data, partial=True)
        whose = cls(header.src, header.dst, header.protocol)
        if header.fragment_offset:
            return whose, rest
        if header.protocol in (ip.UDP, ip.TCP) and len(rest) >= 4:
            src_port, dst_port = struct.unpack_from("!HH", rest)
            return cls(header.src, header.dst, header.protocol, src_port, dst_port), rest
        if len(rest) >= 8 and (header.protocol, rest[0]) in _ECHO_REQUESTS:
            ident, seq = struct.unpack_from("!HH", rest, 4)
            return cls(header.src, header.dst, header.protocol, ident=ident, seq=seq), rest
        return whose, rest
