"""A router that advertises itself on one link: what it says, and when (RFC 4861 sections 4.6.2, 4.6.4, 6.2; RFC 4862).

Sans-IO: `now` is an argument, in seconds of any clock that does not go backwards, and chance a function from 0 to 1.
Constants are the RFC's defaults (section 6.2.1): at most 600 s between advertisements, a lifetime of three times that.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass

from weft.wire.address import ip_text, ipv6_bytes, multicast_mac
from weft.wire.checksum import PseudoHeader
from weft.wire.errors import WireError, fits
from weft.wire.ethernet import IPV6, Ethernet
from weft.wire.ip import ICMPV6
from weft.wire.ipv6 import IPv6
from weft.wire.nd import SOURCE_LINK, Option, RouterAdvertisement, link_option

PREFIX, MTU = 3, 5  # kinds of options
ALL_NODES, ALL_ROUTERS = "ff02::1", "ff02::2"
LONGEST, SHORTEST = 600.0, 198.0  # MaxRtrAdvInterval, MinRtrAdvInterval
LIFETIME = 1800  # of the default router, AdvDefaultLifetime
VALID, PREFERRED = 2_592_000, 604_800  # seconds, of a prefix: 30 days, 7 days
_INITIAL, _INITIAL_LONGEST = 3, 16.0
_ANSWER, _PAUSE = 0.5, 3.0  # MAX_RA_DELAY_TIME, MIN_DELAY_BETWEEN_RAS
_HOST_BITS = 64  # of an interface identifier: no other prefix length autoconfigures (RFC 4862 section 5.5.3)
_LAYOUT = struct.Struct("!BBII4x16s")


@dataclass(frozen=True, slots=True)
class Prefix:
    """On this link is `prefix`; `autonomous`: hosts may make themselves addresses of it. Lifetimes in seconds."""

    prefix: str
    autonomous: bool
    valid: int = VALID
    preferred: int = PREFERRED

    def option(self) -> Option:
        """As it stands in an advertisement (RFC 4861 section 4.6.2); always with the on-link flag."""
        network = ipaddress.IPv6Network(self.prefix)
        flags = 0x80 | (0x40 if self.autonomous else 0)
        valid, preferred = (fits("nd", 4, "lifetime", value, 32) for value in (self.valid, self.preferred))
        octets = ipv6_bytes(str(network.network_address), "nd")
        return Option(PREFIX, _LAYOUT.pack(network.prefixlen, flags, valid, preferred, octets))

    @classmethod
    def of(cls, option: Option) -> Prefix:
        """Raises WireError where it is none."""
        if option.type != PREFIX or len(option.body) != _LAYOUT.size or option.body[0] > 128:
            raise WireError("nd", 0, f"option {option.type} of {len(option.body)} bytes is no prefix information")
        length, flags, valid, preferred, octets = _LAYOUT.unpack(option.body)
        network = ipaddress.IPv6Network((octets, length), strict=False)  # bits beyond the length are ignored
        return cls(f"{ip_text(network.network_address.packed)}/{length}", bool(flags & 0x40), valid, preferred)


def mtu_option(mtu: int) -> Option:
    return Option(MTU, struct.pack("!2xI", fits("nd", 4, "MTU", mtu, 32)))


@dataclass(frozen=True, slots=True)
class Advertised:
    """What is said on one link: by whom (`source` is link-local, as hosts demand), of which prefixes, which MTU."""

    mac: str
    source: str
    prefixes: tuple[str, ...]
    mtu: int

    def frame(self) -> bytes:
        """The whole Ethernet frame, to all nodes of the link."""
        prefixes = (Prefix(text, text.endswith(f"/{_HOST_BITS}")).option() for text in self.prefixes)
        options = (link_option(SOURCE_LINK, self.mac), mtu_option(self.mtu), *prefixes)
        told = RouterAdvertisement(lifetime=LIFETIME, options=options).encode(PseudoHeader(self.source, ALL_NODES))
        packet = IPv6(self.source, ALL_NODES, ICMPV6, hop_limit=255).encode(told)
        return Ethernet(multicast_mac(ALL_NODES), self.mac, IPV6).encode(packet)


class Schedule:
    """When to advertise: a few times soon, then now and then, and soon after a host asked."""

    def __init__(self, now: float, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._initial = _INITIAL
        self._last = now - _PAUSE
        self.next = now

    def solicited(self, now: float) -> None:
        """A host asked: it is answered, with all others, within half a second, unless that was just done."""
        self.next = min(self.next, max(now + _ANSWER * self._chance(), self._last + _PAUSE))

    def due(self, now: float) -> bool:
        """Whether to advertise now; if so, the next time is decided."""
        if now < self.next:
            return False
        self._last = now
        self._initial = max(0, self._initial - 1)
        pause = SHORTEST + (LONGEST - SHORTEST) * self._chance()
        self.next = now + (min(pause, _INITIAL_LONGEST) if self._initial else pause)
        return True
