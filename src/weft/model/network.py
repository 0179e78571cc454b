"""A network: one VNI's layer-2 segment across the fleet, and how it behaves.

The three modes (learning, flood, arp) depend on each other; `MODES` is the table of docs/architecture.md, "How a
network behaves", and everything outside it is refused with the reason.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from weft.model.address import UDP_PORT_VXLAN

AGE_MAX = 65535  # seconds; OpenFlow's timeouts have 16 bits, and one limit serves every datapath


class Learning(StrEnum):
    """Where MAC tables come from: `control-plane`: from endpoints; `data-plane`: VTEPs learn from frames."""

    CONTROL_PLANE = "control-plane"
    DATA_PLANE = "data-plane"


class FloodMode(StrEnum):
    """How broadcast, unknown unicast and multicast (BUM) reach the other VTEPs."""

    INGRESS_REPLICATION = "ingress-replication"
    GROUP = "group"
    NONE = "none"


class Arp(StrEnum):
    """Who answers ARP and ND: the VTEP (`suppress`), the local gateway with its own MAC (`proxy`), or the target."""

    SUPPRESS = "suppress"
    PROXY = "proxy"
    FLOOD = "flood"


class SegmentKey(NamedTuple):
    """What names a segment on the wire: a VNI is unique per UDP port."""

    udp_port: int
    vni: int

    def __str__(self) -> str:
        return str(self.vni) if self.udp_port == UDP_PORT_VXLAN else f"{self.vni}.{self.udp_port}"


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """A network without layer 2: every node has a prefix of its one subnet and routes to those of others.

    `nodes` (): every node. `prefixes`: node → prefix in canonical text, of `prefix_length` bits; who has none yet is to
    be assigned one, which `apply` does. `assigned`: the nodes whose prefix Weft chose.
    """

    prefix_length: int
    nodes: tuple[str, ...] = ()
    prefixes: dict[str, str] = {}
    assigned: tuple[str, ...] = ()


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """`mtu` None: what the underlay carries, less VXLAN's overhead. `age`: seconds a learned MAC lives. Where it is
    `routed`, the modes of layer 2 mean nothing."""

    name: str
    vni: int
    subnets: tuple[str, ...]
    learning: Learning = Learning.CONTROL_PLANE
    flood: FloodMode = FloodMode.INGRESS_REPLICATION
    group: str | None = None
    arp: Arp = Arp.SUPPRESS
    mtu: int | None = None
    udp_port: int = UDP_PORT_VXLAN
    age: int = 300
    routed: Routed | None = None

    @property
    def relayed(self) -> bool:
        """Whether gateways tell each other by ARP who is where (weft.wire.relay)."""
        return self.learning is Learning.DATA_PLANE and self.arp is Arp.PROXY

    @property
    def key(self) -> SegmentKey:
        return SegmentKey(self.udp_port, self.vni)


PREFIX_LENGTH = {4: 24, 6: 64}
"""Of one node in a routed network that does not say, by family."""

DEFAULT_ARP = {Learning.CONTROL_PLANE: Arp.SUPPRESS, Learning.DATA_PLANE: Arp.FLOOD}

# (learning, flood) → the ARP modes that go with it
MODES: dict[tuple[Learning, FloodMode], frozenset[Arp]] = {
    (Learning.CONTROL_PLANE, FloodMode.INGRESS_REPLICATION): frozenset(Arp),
    (Learning.CONTROL_PLANE, FloodMode.GROUP): frozenset(Arp),
    (Learning.CONTROL_PLANE, FloodMode.NONE): frozenset({Arp.SUPPRESS, Arp.PROXY}),
    (Learning.DATA_PLANE, FloodMode.INGRESS_REPLICATION): frozenset({Arp.FLOOD, Arp.PROXY}),
    (Learning.DATA_PLANE, FloodMode.GROUP): frozenset({Arp.FLOOD, Arp.PROXY}),
}
