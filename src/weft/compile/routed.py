"""A routed network's part of a node plan: this node's own prefix on the vxlan device, and three rows for every peer.

    one peer    neighbor  <base> → its MAC      FDB  its MAC → its VTEP      route  <prefix> via <base>

<base> is the first address of a node's prefix, at which its vxlan device answers; the MACs are made of names, so that
no node has to tell its own. These are the rows that flannel's vxlan backend has (docs/flannel.md).
"""

from __future__ import annotations

from weft.compile.macs import vtep_mac
from weft.compile.segment import SegmentPlan, segment_mtu
from weft.compile.world import World
from weft.model.address import is_ipv6
from weft.model.network import Network
from weft.model.node import Node
from weft.plan import tables
from weft.plan.segment import Routed, Segment
from weft.plan.tables import Tables


def compile_routed(world: World, network: Network, node: Node) -> SegmentPlan | None:
    """The network's part of this node's plan; None where the node has no prefix of it."""
    assert network.routed is not None
    members = world.members(network.name)
    prefixes = network.routed.prefixes
    if node not in members or node.name not in prefixes:
        return None
    own = base(prefixes[node.name])
    segment = Segment(
        key=network.key,
        network=network.name,
        vtep=node.vtep,
        mtu=segment_mtu(world, network, members),
        learning=False,
        age=network.age,
        arp=network.arp,
        routed=Routed(vtep_mac(network.key, node.name), f"{own}/{128 if is_ipv6(own) else 32}"),
    )
    peers = [
        (prefixes[peer.name], base(prefixes[peer.name]), vtep_mac(network.key, peer.name), peer.vtep)
        for peer in members
        if peer.name != node.name and peer.name in prefixes
    ]
    rows = Tables(
        fdb=tables.fdb((mac, vtep) for _, _, mac, vtep in peers),
        neighbors=tables.neighbors((ip, mac) for _, ip, mac, _ in peers),
        routes=tables.routes((prefix, ip) for prefix, ip, _, _ in peers),
    )
    return SegmentPlan(segment, rows, ())


def base(prefix: str) -> str:
    """The first address of a prefix."""
    return prefix.partition("/")[0]
