"""Subnets as ranges of integers, so that a hundred thousand addresses are checked by comparing numbers.

IPv4 keeps network and broadcast addresses from hosts, save in /31 (RFC 3021) and /32. IPv6 keeps the first address,
the subnet-router anycast address (RFC 4291 section 2.6.1), save in /127 (RFC 6164) and /128.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import NamedTuple


class Span(NamedTuple):
    """A subnet: `low`..`high` are all its addresses, `first`..`last` those that a host can have."""

    version: int
    low: int
    high: int
    first: int
    last: int

    def holds(self, address: tuple[int, int]) -> bool:
        return self.version == address[0] and self.low <= address[1] <= self.high

    def usable(self, address: tuple[int, int]) -> bool:
        return self.version == address[0] and self.first <= address[1] <= self.last

    def overlaps(self, other: Span) -> bool:
        return self.version == other.version and self.low <= other.high and other.low <= self.high


@lru_cache(maxsize=16384)
def span(subnet: str) -> Span:
    """Raises ValueError for anything but a subnet in canonical text."""
    network = ipaddress.ip_network(subnet)
    low, high = int(network.network_address), int(network.broadcast_address)
    if network.num_addresses <= 2:
        return Span(network.version, low, high, low, high)
    return Span(network.version, low, high, low + 1, high - 1 if network.version == 4 else high)


def number(ip: str) -> tuple[int, int]:
    """(family 4 or 6, the address as an integer); raises ValueError."""
    if ":" in ip:
        if "%" in ip:
            raise ValueError("an address with a zone")
        return 6, int(ipaddress.IPv6Address(ip))
    return 4, int(ipaddress.IPv4Address(ip))


def text(version: int, value: int) -> str:
    """Inverse of `number`."""
    return str(ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value))
