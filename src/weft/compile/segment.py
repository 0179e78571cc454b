"""A network's part of a node plan: its segment, flood list, MAC and neighbor tables, and local ports.

The flood list is the one thing that depends on what the peers can receive: in a network with a multicast group, peers
that cannot join a group get a unicast copy beside it, and a node that cannot send to groups sends unicast to all.

Segments know their gateways: remote IRBs stand in the FDB, all gateways' addresses in the neighbor table, and ports are
told their default gateway. In `arp: proxy` frames travel between IRBs only, so nothing else stands in the FDB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weft.compile.gateway import anycast_of, default_gateways, gateways_in, with_prefix
from weft.compile.index import Words
from weft.compile.places import Places, places
from weft.compile.world import World
from weft.model.address import MTU_MAX, ip_to_words, is_ipv6, mac_to_int, overhead
from weft.model.network import Arp, FloodMode, Learning, Network
from weft.model.node import DatapathKind, Node
from weft.model.port import NO_GATEWAY, AttachKind, Port
from weft.plan import tables
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Rows, Table, Tables

_UNDERLAY_MTU = 1500  # of a node that has not reported yet


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """What one network puts into one node's plan."""

    segment: Segment
    tables: Tables
    ports: tuple[LocalPort, ...]


def compile_segment(world: World, network: Network, node: Node) -> SegmentPlan | None:
    """The network's part of this node's plan; None where the node takes no part in it."""
    members = world.members(network.name)
    if node not in members:
        return None
    peers = [member for member in members if member.name != node.name]
    group = network.group if network.flood is FloodMode.GROUP and _takes_groups(world, node) else None
    segment = Segment(
        key=network.key,
        network=network.name,
        vtep=node.vtep,
        mtu=segment_mtu(world, network, members),
        learning=network.learning is Learning.DATA_PLANE,
        age=network.age,
        arp=network.arp,
        group=group,
        anycast=anycast_of(world, network, node),
        members=tuple(sorted(peer.vtep for peer in peers)) if group else None,
    )
    local = sorted(world.ports_on(network.name, node.name), key=lambda port: port.name)
    gateways = default_gateways(world, network)
    ports = tuple(_local_port(network, port, segment.mtu, gateways) for port in local)
    return SegmentPlan(segment, _tables(world, network, node, peers, group, local), ports)


def _tables(
    world: World, network: Network, node: Node, peers: list[Node], group: str | None, local: list[Port]
) -> Tables:
    flood = tables.flood(peer.vtep for peer in peers if _needs_copy(world, network, peer, group))
    if network.learning is Learning.DATA_PLANE:
        return Tables(flood=flood)
    where = places(world, network)
    vteps = {peer.name: peer.vtep for peer in peers}
    gateways = gateways_in(world, network)
    mine = {gateway.mac for gateway in gateways if gateway.node == node.name}
    fdb = tables.fdb((gateway.mac, vteps[gateway.node]) for gateway in gateways if gateway.node in vteps)
    if network.arp is not Arp.PROXY:
        fdb = tables.joined(Table.FDB, (fdb, *_fdb(world, where, vteps, mine)))
    if network.arp is not Arp.SUPPRESS:
        return Tables(fdb, flood=flood)
    own = {port.mac for port in local if port.attach.kind is AttachKind.HOST}
    irbs = tables.neighbors(row for gateway in gateways for row in gateway.neighbors(node.name))
    return Tables(fdb, tables.joined(Table.NEIGHBORS, (*_neighbors(where, own), irbs)), flood)


def _fdb(world: World, where: Places, vteps: dict[str, str], mine: set[str]) -> tuple[Rows, Rows]:
    """Rows for every endpoint behind a peer: plain ones, then the others."""
    words = np.zeros((len(world.names.things), 3), np.uint64)  # by number of a node's name: there, high, low
    for name, vtep in vteps.items():
        if (number := world.names.get(name)) is not None:
            words[number] = (1, *ip_to_words(vtep))
    here = (words[where.nodes, 0] == 1) & ~_among(where.macs, mine)
    _, high, low = words[where.nodes[here]].T
    plain = tables.rows_of(Table.FDB, where.macs[here], high, low)
    others = ((place.mac, vteps[place.node]) for place in where.others if place.node in vteps and place.mac not in mine)
    return plain, tables.fdb(others)


def _neighbors(where: Places, own: set[str]) -> tuple[Rows, Rows]:
    """Rows for every endpoint, local ones too, so that no request of any of them has a reason to enter a tunnel; but
    none for the host's own stack, which knows its own addresses."""
    here = ~_among(where.owners, own)
    plain = tables.rows_of(Table.NEIGHBORS, where.high[here], where.low[here], where.owners[here])
    return plain, tables.neighbors(
        (ip, place.mac) for place in where.others if place.mac not in own for ip in place.ips
    )


def _among(macs: Words, texts: set[str]) -> npt.NDArray[np.bool_]:
    return np.isin(macs, np.array([mac_to_int(mac) for mac in texts if mac], np.uint64))


def _needs_copy(world: World, network: Network, peer: Node, group: str | None) -> bool:
    if network.flood is FloodMode.NONE:
        return False
    return group is None or not _takes_groups(world, peer)


def _takes_groups(world: World, node: Node) -> bool:
    facts = world.facts.get(node.name)
    return facts.receives_groups if facts else node.datapath is not DatapathKind.OVS


def segment_mtu(world: World, network: Network, members: list[Node]) -> int:
    """The stated MTU, or what the narrowest member's underlay carries less VXLAN's overhead."""
    if network.mtu is not None:
        return network.mtu
    return min(MTU_MAX, *(underlay_mtu(world, member) - overhead(member.vtep) for member in members))


def underlay_mtu(world: World, node: Node) -> int:
    facts = world.facts.get(node.name)
    return facts.underlay_mtu if facts and facts.underlay_mtu else _UNDERLAY_MTU


def _local_port(network: Network, port: Port, mtu: int, gateways: tuple[str, ...]) -> LocalPort:
    inside = port.attach.kind is AttachKind.NAMESPACE and port.attach.gateway != NO_GATEWAY
    told = (port.attach.gateway,) if port.attach.gateway else gateways
    families = {is_ipv6(ip) for ip in port.ips}
    return LocalPort(
        name=port.name,
        segment=network.key,
        attach=port.attach,
        mac=port.mac,
        addresses=tuple(with_prefix(network, ip) for ip in port.ips),
        mtu=mtu,
        gateways=tuple(ip for ip in told if is_ipv6(ip) in families) if inside else (),
        isolated=network.arp is Arp.PROXY and port.attach.kind is not AttachKind.HOST,
    )
