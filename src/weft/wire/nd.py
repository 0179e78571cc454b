"""IPv6 neighbor discovery (RFC 4861 sections 4.1–4.4, 4.6; flags of router advertisements RFC 5175).

Each value is a whole ICMPv6 message. Whether to believe it (hop limit 255, RFC 4861 section 7.1) is for the receiver to
judge: the IPv6 header is not seen here. Options stay raw, so that nonces and prefixes survive a round trip.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from weft.wire.address import ip_text, ipv6_bytes, mac_bytes, mac_text
from weft.wire.checksum import PseudoHeader
from weft.wire.errors import WireError, fits, need
from weft.wire.icmpv6 import Icmpv6

ROUTER_SOLICITATION = 133
ROUTER_ADVERTISEMENT = 134
NEIGHBOR_SOLICITATION = 135
NEIGHBOR_ADVERTISEMENT = 136

SOURCE_LINK = 1
TARGET_LINK = 2


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `type`, and the bytes behind type and length (6, 14, 22, …)."""

    type: int
    body: bytes


def link_option(kind: int, mac: str) -> Option:
    """A link-layer address option; `kind` is SOURCE_LINK or TARGET_LINK."""
    return Option(kind, mac_bytes(mac, "nd"))


@dataclass(frozen=True, slots=True)
class _Message:
    options: tuple[Option, ...] = ()

    def _link(self, kind: int) -> str | None:
        return next((mac_text(each.body) for each in self.options if each.type == kind and len(each.body) == 6), None)

    @property
    def source_link(self) -> str | None:
        """The sender's MAC, if the message carries it."""
        return self._link(SOURCE_LINK)

    @property
    def target_link(self) -> str | None:
        """The target's MAC, if the message carries it."""
        return self._link(TARGET_LINK)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSolicitation(_Message):
    """Which routers are there?"""

    def encode(self, pseudo: PseudoHeader) -> bytes:
        """The ICMPv6 message, checksum computed."""
        return Icmpv6(ROUTER_SOLICITATION, 0).encode(_encode_options(self.options), pseudo)

    @classmethod
    def decode(cls, data: bytes) -> tuple[RouterSolicitation, bytes]:
        """The message; nothing is left."""
        _, rest = _body(data, ROUTER_SOLICITATION)
        return cls(options=_decode_options(rest, 8)), b""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterAdvertisement(_Message):
    """A router speaks: lifetime in seconds (0: not a default router), reachable time and retransmission in ms."""

    hop_limit: int = 64
    flags: int = 0
    lifetime: int = 0
    reachable: int = 0
    retransmit: int = 0

    @property
    def managed(self) -> bool:
        """Addresses come from DHCPv6."""
        return bool(self.flags & 0x80)

    def encode(self, pseudo: PseudoHeader) -> bytes:
        """The ICMPv6 message, checksum computed."""
        word = fits("nd", 4, "hop limit", self.hop_limit, 8) << 24 | fits("nd", 5, "flags", self.flags, 8) << 16
        word |= fits("nd", 6, "lifetime", self.lifetime, 16)
        times = struct.pack(
            "!II",
            fits("nd", 8, "reachable time", self.reachable, 32),
            fits("nd", 12, "retransmit", self.retransmit, 32),
        )
        return Icmpv6(ROUTER_ADVERTISEMENT, 0, word).encode(times + _encode_options(self.options), pseudo)

    @classmethod
    def decode(cls, data: bytes) -> tuple[RouterAdvertisement, bytes]:
        """The message; nothing is left."""
        word, rest = _body(data, ROUTER_ADVERTISEMENT, 16)
        reachable, retransmit = struct.unpack_from("!II", rest)
        value = cls(
            hop_limit=word >> 24,
            flags=word >> 16 & 0xFF,
            lifetime=word & 0xFFFF,
            reachable=reachable,
            retransmit=retransmit,
            options=_decode_options(rest[8:], 16),
        )
        return value, b""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighborSolicitation(_Message):
    """Who has `target`? Sent from `::` it is a probe for duplicates, from which nothing may be learned."""

    target: str

    def encode(self, pseudo: PseudoHeader) -> bytes:
        """The ICMPv6 message, checksum computed."""
        body = ipv6_bytes(self.target, "nd", 8) + _encode_options(self.options)
        return Icmpv6(NEIGHBOR_SOLICITATION, 0).encode(body, pseudo)

    @classmethod
    def decode(cls, data: bytes) -> tuple[NeighborSolicitation, bytes]:
        """The message; nothing is left."""
        _, rest = _body(data, NEIGHBOR_SOLICITATION, 24)
        return cls(target=ip_text(rest[:16]), options=_decode_options(rest[16:], 24)), b""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighborAdvertisement(_Message):
    """`target` is at the MAC of the target link-layer option."""

    target: str
    router: bool = False
    solicited: bool = True
    override: bool = True

    def encode(self, pseudo: PseudoHeader) -> bytes:
        """The ICMPv6 message, checksum computed."""
        word = self.router << 31 | self.solicited << 30 | self.override << 29
        body = ipv6_bytes(self.target, "nd", 8) + _encode_options(self.options)
        return Icmpv6(NEIGHBOR_ADVERTISEMENT, 0, word).encode(body, pseudo)

    @classmethod
    def decode(cls, data: bytes) -> tuple[NeighborAdvertisement, bytes]:
        """The message; nothing is left."""
        word, rest = _body(data, NEIGHBOR_ADVERTISEMENT, 24)
        value = cls(
            target=ip_text(rest[:16]),
            router=bool(word >> 31 & 1),
            solicited=bool(word >> 30 & 1),
            override=bool(word >> 29 & 1),
            options=_decode_options(rest[16:], 24),
        )
        return value, b""


NeighborDiscovery = RouterSolicitation | RouterAdvertisement | NeighborSolicitation | NeighborAdvertisement

_KINDS: dict[int, type[NeighborDiscovery]] = {
    ROUTER_SOLICITATION: RouterSolicitation,
    ROUTER_ADVERTISEMENT: RouterAdvertisement,
    NEIGHBOR_SOLICITATION: NeighborSolicitation,
    NEIGHBOR_ADVERTISEMENT: NeighborAdvertisement,
}


def decode(message: bytes) -> NeighborDiscovery | None:
    """The neighbor discovery message in an ICMPv6 message; None if it is another kind. Raises WireError."""
    need("nd", message, 1)
    kind = _KINDS.get(message[0])
    return kind.decode(message)[0] if kind else None


def solicited_node(ip: str) -> str:
    """The multicast group that hears solicitations for `ip` (RFC 4291 section 2.7.1)."""
    return ip_text(bytes.fromhex("ff0200000000000000000001ff") + ipv6_bytes(ip, "nd")[13:])


def _body(data: bytes, kind: int, size: int = 8) -> tuple[int, bytes]:
    """The word of a message of `kind`, which has `size` bytes before its options, and what follows the word."""
    need("nd", data, size)
    header, rest = Icmpv6.decode(data)
    if (header.type, header.code) != (kind, 0):
        raise WireError("nd", 0, f"type {header.type} code {header.code}, not {kind} code 0")
    return header.word, rest


def _encode_options(options: tuple[Option, ...]) -> bytes:
    parts = []
    for each in options:
        size = len(each.body) + 2
        if size % 8 or size > 255 * 8:
            raise WireError("nd", 0, f"option {each.type} of {size} bytes; pad it to 8, 2040 at most")
        parts.append(bytes((fits("nd", 0, "option", each.type, 8), size // 8)) + each.body)
    return b"".join(parts)


def _decode_options(data: bytes, base: int) -> tuple[Option, ...]:
    """Options to the end of `data`, which starts `base` bytes into the message."""
    options = []
    at = 0
    while at < len(data):
        if len(data) - at < 2:
            raise WireError("nd", base + at, "an option of one byte")
        size = data[at + 1] * 8
        if not size:
            raise WireError("nd", base + at + 1, f"option {data[at]} has length 0")
        if len(data) - at < size:
            raise WireError("nd", base + at, f"option {data[at]} of {size} bytes reaches past the end")
        options.append(Option(data[at], data[at + 2 : at + size]))
        at += size
    return tuple(options)
