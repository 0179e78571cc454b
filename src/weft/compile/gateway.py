"""The gateways of a network as its segment sees them: which MAC on which node, for which addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from weft.compile.macs import anycast_mac, irb_mac, link_local
from weft.compile.world import World
from weft.model.address import is_ipv6
from weft.model.network import Arp, Learning, Network
from weft.model.node import Node
from weft.model.router import Router


@dataclass(frozen=True, slots=True)
class Gateway:
    """A router's IRB on one node: `mac` towards tunnels, `anycast` towards local ports ("": the same)."""

    router: str
    node: str
    mac: str
    anycast: str
    addresses: tuple[str, ...]

    def neighbors(self, node: str) -> Iterator[tuple[str, str]]:
        """(IP, MAC) as the hosts of `node` must know it; a distributed gateway is known by its local instance only."""
        if self.anycast and self.node != node:
            return
        for address in self.addresses:
            yield address, self.anycast or self.mac


def gateways_in(world: World, network: Network) -> list[Gateway]:
    """Every IRB that stands in the network, on whichever node."""
    found: list[Gateway] = []
    members = {member.name for member in world.members(network.name)}
    for router in world.routers_in(network.name):
        distributed = not router.placement
        for node in world.instances(router):
            if node in members:
                mac = irb_mac(router.name, network.key, node if distributed else "")
                anycast = anycast_mac(router.name, network.key) if is_anycast(router, network) else ""
                found.append(Gateway(router.name, node, mac, anycast, router.gateways[network.name]))
    return found


def is_anycast(router: Router, network: Network) -> bool:
    """Whether local ports know the gateway by one MAC on every node; in the ARP relay each node's has its own."""
    return not router.placement and not network.relayed


def anycast_of(world: World, network: Network, node: Node) -> tuple[str, ...]:
    """MACs and addresses that must not enter a tunnel here."""
    return tuple(
        item
        for router in world.routers_in(network.name)
        if is_anycast(router, network) and node.name in world.instances(router)
        for item in (
            anycast_mac(router.name, network.key),
            *router.gateways[network.name],
            *((link_address(router, network),) if advertises(router, network) else ()),
        )
    )


def default_gateways(world: World, network: Network) -> tuple[str, ...]:
    """Where the network's hosts send what leaves it, one address a family: the distributed gateway comes first."""
    found: dict[bool, str] = {}
    for router in world.routers_in(network.name):
        for address in router.gateways[network.name]:
            found.setdefault(is_ipv6(address), address)
    return tuple(found[family] for family in sorted(found))


def advertises(router: Router, network: Network) -> bool:
    """Whether the router says in this network by router advertisements that it is there."""
    return router.advertise and any(is_ipv6(address) for address in router.gateways[network.name])


def link_address(router: Router, network: Network) -> str:
    """The link-local address that hosts know an advertising gateway by; on every node the same, as its MAC."""
    return link_local(irb_mac(router.name, network.key) if router.placement else anycast_mac(router.name, network.key))


def asks(network: Network, router: Router) -> bool:
    """Whether an IRB may send ARP and ND for hosts that no table names: not in its anycast address's name."""
    unknown = network.learning is Learning.DATA_PLANE or network.arp is Arp.FLOOD
    return bool(router.placement) and unknown and not network.relayed


def with_prefix(network: Network, ip: str) -> str:
    """The address with its subnet's prefix length."""
    address = ipaddress.ip_address(ip)
    subnets = (ipaddress.ip_network(subnet) for subnet in network.subnets)
    length = next((subnet.prefixlen for subnet in subnets if address in subnet), address.max_prefixlen)
    return f"{ip}/{64 if address.is_link_local and address.version == 6 else length}"
