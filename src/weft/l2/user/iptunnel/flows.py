"""What was found out about a packet, kept for the next one whose headers say the same.

`Flow` is found by all that the rules of weft.l2.user.iptunnel.egress look at: the offload header, the octets of the
packet, and of IPv4's header all but identification and checksum; of a big packet the length of TCP's header, too. It is
void when the routes have changed (`Routes.lookups`). What is dropped or answered is never remembered.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from weft.l2.user import vnet
from weft.l2.user.iptunnel.header import HEADER
from weft.l2.user.iptunnel.routes import Lookups
from weft.l2.user.tx.split import Cut

FLOWS = 4096
_SMALL = Struct("14s2x4s2x8s")  # up to the total length; fragment, TTL, protocol; addresses
_BIG = Struct(_SMALL.format + "12xc")  # TCP's data offset
_GSO = 1

Key = tuple[bytes, ...]


class Flow(NamedTuple):
    """Packets of `size` octets, offload header included, go to `vtep`. A big one is `cut` so; of any other the checksum
    over all from `start` is finished `at`, if that is not 0. `lookups`: the routes that said so."""

    lookups: Lookups
    size: int
    vtep: str
    cut: Cut | None
    start: int = 0
    at: int = 0


class Flows:
    """Used by one thread."""

    def __init__(self) -> None:
        self._flows: dict[Key, Flow] = {}

    def find(self, key: Key, size: int, lookups: Lookups) -> Flow | None:
        """Of a packet, while the routes are these."""
        flow = self._flows.get(key)
        return flow if flow is not None and flow.size == size and flow.lookups is lookups else None

    def big(self, key: Key, lookups: Lookups, size: int, vtep: str, cut: Cut) -> None:
        """Remembers a packet that was cut so."""
        if cut[0].upper == HEADER:  # otherwise its headers hold more than the key tells
            self._put(key, Flow(lookups, size, vtep, cut))

    def small(self, key: Key, lookups: Lookups, size: int, vtep: str, offload: vnet.Offload) -> None:
        """Remembers a packet that went as it is, but for its checksum."""
        start = at = 0
        if offload.flags & vnet.NEEDS_CSUM:
            start = vnet.SIZE + offload.start
            at = start + offload.offset
        self._put(key, Flow(lookups, size, vtep, None, start, at))

    def _put(self, key: Key, flow: Flow) -> None:
        if len(self._flows) >= FLOWS:
            self._flows.clear()
        self._flows[key] = flow


def key(buffer: memoryview) -> Key:
    """Of the packet in the buffer, before its TTL is changed."""
    return (_BIG if buffer[_GSO] else _SMALL).unpack_from(buffer)
