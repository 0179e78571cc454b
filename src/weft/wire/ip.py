"""What the two IP families share: protocol numbers (IANA), and decoding by version."""

from __future__ import annotations

from weft.wire.errors import need
from weft.wire.ipv4 import IPv4
from weft.wire.ipv6 import IPv6

ICMP = 1
IGMP = 2
TCP = 6
UDP = 17
ICMPV6 = 58


def decode(data: bytes, *, partial: bool = False) -> tuple[IPv4 | IPv6, bytes]:
    """The header and payload of a packet of either family; whatever does not say version 6 is tried as 4."""
    need("ip", data, 1)
    if data[0] >> 4 == 6:
        return IPv6.decode(data, partial=partial)
    return IPv4.decode(data, partial=partial)
