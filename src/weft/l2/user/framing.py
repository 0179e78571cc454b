"""What stands before the IP packet in the payload of an underlay datagram."""

from __future__ import annotations

from typing import NamedTuple


class Framing(NamedTuple):
    """`front`: octets of encapsulation; `link`: octets of link header behind it, 14 (Ethernet) or none."""

    front: int
    link: int

    @property
    def ip(self) -> int:
        """Where an untagged frame's IP header is in a datagram."""
        return self.front + self.link


VXLAN = Framing(8, 14)  # RFC 7348 section 5
BARE = Framing(0, 0)  # nothing but the packet
