"""IPv6 headers and the walk over their extension headers (RFC 8200; AH RFC 4302; lengths RFC 6564).

The value names the upper-layer `protocol` and keeps extension headers as they were, so that every packet can be built
again byte for byte. ESP ends the walk: nothing behind it can be read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from weft.wire.address import ip_text, ipv6_bytes
from weft.wire.checksum import PseudoHeader
from weft.wire.errors import WireError, fits, need

HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
AUTHENTICATION = 51
NO_NEXT = 59
DESTINATION = 60
_MOBILITY, _HIP, _SHIM6 = 135, 139, 140
_EXTENSIONS = {HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, _MOBILITY, _HIP, _SHIM6}

_HEADER = struct.Struct("!IHBB16s16s")


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension header: its `kind` (the number that announces it) and all its bytes but the next-header one."""

    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class IPv6:
    """An IPv6 header with its extension headers in order; `length` (bytes behind the fixed header) is what was read."""

    src: str
    dst: str
    protocol: int
    hop_limit: int = 64
    traffic_class: int = 0
    flow_label: int = 0
    extensions: tuple[Extension, ...] = ()
    length: int = field(default=0, compare=False)

    @property
    def ttl(self) -> int:
        """The hop limit, under the name the two families share."""
        return self.hop_limit

    @property
    def header_length(self) -> int:
        """Bytes before the payload, extension headers included."""
        return 40 + sum(1 + len(each.body) for each in self.extensions)

    @property
    def packet_length(self) -> int:
        """Bytes of headers and payload, as read."""
        return 40 + self.length

    @property
    def next_header(self) -> int:
        """What the fixed header announces: the first extension, or the upper layer."""
        return self.extensions[0].kind if self.extensions else self.protocol

    @property
    def fragment_offset(self) -> int:
        """Bytes of the original packet before this part; 0 where there is no fragment header."""
        return (self._fragment_word() >> 3) * 8

    @property
    def fragment(self) -> bool:
        """True for any part of a fragmented packet; an atomic fragment (RFC 6946) is whole."""
        return self._fragment_word() & 0xFFF9 != 0

    def _fragment_word(self) -> int:
        for each in self.extensions:
            if each.kind == FRAGMENT:
                return int.from_bytes(each.body[1:3], "big")
        return 0

    def pseudo(self) -> PseudoHeader:
        """What an upper-layer checksum covers of this header (without a routing header's last stop)."""
        return PseudoHeader(self.src, self.dst)

    def encode(self, payload: bytes = b"") -> bytes:
        """The packet, length computed and extension headers chained."""
        chain = b""
        following = [*(each.kind for each in self.extensions), self.protocol][1:]
        for each, after in zip(self.extensions, following, strict=True):
            at = 40 + len(chain)
            if each.kind not in _EXTENSIONS or not each.body or len(each.body) + 1 != _size(each.kind, each.body[0]):
                raise WireError("ipv6", at, f"extension header {each.kind} does not have the length it states")
            chain += bytes((fits("ipv6", at, "next header", after, 8),)) + each.body
        if self.protocol in _EXTENSIONS and not self.fragment_offset:
            raise WireError("ipv6", 6, f"protocol {self.protocol} is an extension header; put it into extensions")
        word = 6 << 28 | fits("ipv6", 0, "traffic class", self.traffic_class, 8) << 20
        header = _HEADER.pack(
            word | fits("ipv6", 1, "flow label", self.flow_label, 20),
            fits("ipv6", 4, "length", len(chain) + len(payload), 16),
            fits("ipv6", 6, "next header", self.next_header, 8),
            fits("ipv6", 7, "hop limit", self.hop_limit, 8),
            ipv6_bytes(self.src, "ipv6", 8),
            ipv6_bytes(self.dst, "ipv6", 24),
        )
        return header + chain + payload

    @classmethod
    def decode(cls, data: bytes, *, partial: bool = False) -> tuple[IPv6, bytes]:
        """The headers and the upper-layer payload; what stands behind the packet's own length is cut off.

        `partial` accepts a packet shorter than its length says, as ICMPv6 errors quote it.
        """
        need("ipv6", data, 40)
        word, length, kind, hop_limit, src, dst = _HEADER.unpack_from(data)
        if word >> 28 != 6:
            raise WireError("ipv6", 0, f"version {word >> 28}, not 6")
        if not partial:
            need("ipv6", data, length, 40)
        packet = data[: 40 + length]
        extensions: list[Extension] = []
        at = 40
        while kind in _EXTENSIONS:
            need("ipv6", packet, 8, at)
            size = _size(kind, packet[at + 1])
            need("ipv6", packet, size, at)
            extensions.append(Extension(kind, packet[at + 1 : at + size]))
            first_part = kind != FRAGMENT or int.from_bytes(packet[at + 2 : at + 4], "big") < 8
            kind = packet[at]
            at += size
            if not first_part:
                break  # a later fragment: what follows is the middle of something
        value = cls(
            src=ip_text(src),
            dst=ip_text(dst),
            protocol=kind,
            hop_limit=hop_limit,
            traffic_class=word >> 20 & 0xFF,
            flow_label=word & 0xFFFFF,
            extensions=tuple(extensions),
            length=length,
        )
        return value, packet[at:]


def _size(kind: int, stated: int) -> int:
    """The bytes of an extension header whose second byte is `stated`."""
    if kind == FRAGMENT:
        return 8
    return (stated + 2) * 4 if kind == AUTHENTICATION else (stated + 1) * 8
