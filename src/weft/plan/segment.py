"""A segment: one network's bridge domain on one VTEP."""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.network import Arp, SegmentKey


@dataclass(frozen=True, slots=True)
class Routed:
    """Of a segment without bridge and ports: the vxlan device stands in the host's own stack, with this MAC and this
    address alone ("": none). Only such a segment has routes among its tables, by that device."""

    mac: str
    address: str

    def __str__(self) -> str:
        return f"routed {self.mac} {self.address}".rstrip()


@dataclass(frozen=True, slots=True)
class Segment:
    """What a datapath must make of a network here, apart from its tables and ports.

    `vtep` is the outer source address. `mtu` is the overlay's, in octets of inner IP packet. `learning` True: MACs are
    learned from tunnels and forgotten after `age` seconds. `group`: the multicast group that BUM frames go to, None
    where the flood list alone says it; joined on the device that holds `vtep`. `arp` `suppress`: ARP and ND never
    enter a tunnel and neighbor rows are answered from, and neither do unknown unicast frames. `proxy`: nothing but
    what routers send enters a tunnel. `anycast`: MAC and addresses of distributed gateways here, as text; no frame from
    or to that MAC, and no ARP or ND about those addresses, enters a tunnel. `members`: the VTEPs that may send to a
    segment with a group; None where the flood list and the FDB name them all, and in what is observed of a datapath
    that does not judge senders.
    """

    key: SegmentKey
    network: str
    vtep: str
    mtu: int
    learning: bool
    age: int
    arp: Arp
    group: str | None = None
    anycast: tuple[str, ...] = ()
    members: tuple[str, ...] | None = None
    routed: Routed | None = None

    @property
    def relayed(self) -> bool:
        """ARP that tunnels bring reaches nobody but who punts it (weft.wire.relay); only routers' frames enter them."""
        return self.learning and self.arp is Arp.PROXY
