"""A router's part of a node plan: its interfaces, the tables behind them, and where its routes lead from here.

asymmetric IRB  the ingress node routes into the target's network, so it has an IRB in every network of the router and
                a neighbor for every endpoint (RFC 9135 section 4.2)
symmetric IRB   it routes to the router of the target's node, in the router's own VNI: a host route for every endpoint
                elsewhere, and IRBs in networks with something of this node alone (RFC 9135 section 4.1)
centralized     one node routes; it has an IRB in every network
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weft.compile.endpoints import locations
from weft.compile.gateway import advertises, asks, gateways_in, is_anycast, link_address, with_prefix
from weft.compile.macs import anycast_mac, hop_address, irb_mac, own_addresses, router_mac
from weft.compile.paths import compile_paths, unique
from weft.compile.segment import segment_mtu
from weft.compile.world import World
from weft.model.address import UDP_PORT_VXLAN, is_ipv6
from weft.model.network import Arp, Learning, Network, SegmentKey
from weft.model.node import Node
from weft.model.port import Attach, AttachKind
from weft.model.router import Router as Intended
from weft.plan import tables
from weft.plan.port import LocalPort, port_of
from weft.plan.router import Irb, L3Segment, Outside, Router, RouterDevice, irb_device, l3_device, namespace_of
from weft.plan.segment import Segment
from weft.plan.tables import Tables


@dataclass(frozen=True, slots=True)
class RouterPlan:
    """What one router puts into one node's plan."""

    router: Router
    ports: tuple[LocalPort, ...]
    tables: dict[RouterDevice, Tables]


def compile_router(
    world: World, router: Intended, node: Node, segments: Mapping[SegmentKey, Segment]
) -> RouterPlan | None:
    """The router's part of this node's plan; None where the node does not have it. `segments`: those of the node."""
    if node.name not in world.instances(router):
        return None
    networks = [world.networks[name] for name in sorted(router.gateways) if name in world.networks]
    here = [network for network in networks if network.key in segments]
    elsewhere = [network for network in networks if network.key not in segments]
    irbs = tuple(_irb(router, network, node) for network in here)
    l3 = _l3(world, router, node)
    outside = _outside(router, node)
    routes, rules = compile_paths(world, router, here, elsewhere, l3, outside)
    plan = Router(
        name=router.name,
        namespace=namespace_of(router.name, router.in_host),
        addresses=_own(node) if not router.placement else (),
        l3=l3,
        outside=outside,
        interfaces=tuple(sorted(irbs, key=lambda irb: irb.device)),
        routes=unique(routes),
        rules=tuple(sorted(rules, key=lambda rule: (rule.priority, str(rule)))),
    )
    made = {
        RouterDevice(router.name, irb_device(network.key)): _neighbors(world, router, network, node, l3)
        for network in here
    }
    if l3:
        made[RouterDevice(router.name, l3.device)] = _beyond(world, router, networks, node)
    ports = tuple(_port(router, irb, segments[irb.segment]) for irb in irbs)
    return RouterPlan(plan, ports, made)


def _own(node: Node) -> tuple[str, ...]:
    four, six = own_addresses(node.vtep)
    return f"{four}/32", f"{six}/128"


def _irb(router: Intended, network: Network, node: Node) -> Irb:
    distributed, anycast = not router.placement, is_anycast(router, network)
    addresses = router.gateways[network.name]
    advertise = advertises(router, network)
    link = (link_address(router, network),) if advertise else ()
    return Irb(
        network=network.name,
        segment=network.key,
        device=irb_device(network.key),
        mac=irb_mac(router.name, network.key, node.name if distributed else ""),
        addresses=tuple(
            f"{ip}/{128 if is_ipv6(ip) else 32}" if anycast else with_prefix(network, ip) for ip in (*addresses, *link)
        ),
        anycast=anycast_mac(router.name, network.key) if anycast else "",
        proxy=distributed and network.arp is Arp.PROXY,
        asks=asks(network, router),
        advertise=advertise,
        relayed=network.relayed,
    )


def _port(router: Intended, irb: Irb, segment: Segment) -> LocalPort:
    target = namespace_of(router.name, router.in_host)
    return LocalPort(
        name=port_of(router.name, irb.network),
        segment=irb.segment,
        attach=Attach(kind=AttachKind.NAMESPACE, target=target, interface=irb.device),
        mac=irb.mac,
        addresses=() if irb.anycast else irb.addresses,
        mtu=segment.mtu,
    )


def _l3(world: World, router: Intended, node: Node) -> L3Segment | None:
    if router.vni is None or router.placement:
        return None
    key = SegmentKey(UDP_PORT_VXLAN, router.vni)
    networks = [world.networks[name] for name in sorted(router.gateways) if name in world.networks]
    nodes = [world.nodes[name] for name in world.instances(router)]
    mtu = min((segment_mtu(world, network, nodes) for network in networks), default=1450)
    return L3Segment(key, l3_device(key), node.vtep, router_mac(router.name, node.name), mtu)


def _outside(router: Intended, node: Node) -> Outside | None:
    for side in router.external:
        if side.node == node.name:
            more = sorted({outside for _, outside in side.static})
            addresses = (side.address, *(f"{ip}/{128 if is_ipv6(ip) else 32}" for ip in more))
            return Outside(side.interface, addresses, side.nat == "masquerade", tuple(sorted(side.static)))
    return None


def _neighbors(world: World, router: Intended, network: Network, node: Node, l3: L3Segment | None) -> Tables:
    """IP → MAC in one network: of endpoints (over an L3 VNI: of this node's), and of other routers."""
    if network.learning is Learning.DATA_PLANE:
        return Tables.none()
    rows = list(_endpoints(world, router, network, node, l3 is not None))
    others = [gateway for gateway in gateways_in(world, network) if gateway.router != router.name]
    others.sort(key=lambda gateway: gateway.node == node.name)  # the last row for an address stays: the local one
    for gateway in others:
        mac = gateway.anycast if gateway.anycast and gateway.node == node.name else gateway.mac
        rows += [(address, mac) for address in gateway.addresses]
    families = {is_ipv6(address) for address in router.gateways[network.name]}
    return Tables(neighbors=tables.neighbors(row for row in rows if is_ipv6(row[0]) in families))


def _endpoints(
    world: World, router: Intended, network: Network, node: Node, local_only: bool
) -> Iterator[tuple[str, str]]:
    """In `arp: proxy` what is behind another node is behind that node's gateway."""
    behind = {}
    if network.arp is Arp.PROXY:
        behind = {gateway.node: gateway.mac for gateway in gateways_in(world, network) if gateway.anycast}
    for place in locations(world, network):
        if place.node == node.name:
            mac = place.mac
        elif local_only:
            continue
        else:
            mac = behind.get(place.node, place.mac)
        for ip in place.ips:
            yield ip, mac


def _beyond(world: World, router: Intended, networks: list[Network], node: Node) -> Tables:
    """What is reached over the L3 VNI: host routes by the other nodes' routers, their router MACs, and the VTEPs."""
    peers = {name: world.nodes[name].vtep for name in world.instances(router) if name != node.name}
    hosts = [
        (ip, hop_address(peers[place.node], ip))
        for network in networks
        for place in locations(world, network)
        if place.node in peers
        for ip in place.ips
    ]
    macs = {vtep: router_mac(router.name, name) for name, vtep in peers.items()}
    return Tables(
        fdb=tables.fdb((mac, vtep) for vtep, mac in macs.items()),
        neighbors=tables.neighbors((hop, mac) for vtep, mac in macs.items() for hop in {vtep, own_addresses(vtep)[1]}),
        routes=tables.routes(hosts),
    )
