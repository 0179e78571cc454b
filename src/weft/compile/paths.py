"""A router's routes and rules on one node: its own subnets, static routes with ECMP, policy routes.

A next hop is reached directly where this node has an interface in its network, else over the L3 VNI by the node that
has it. Next hops on nodes that do not answer are withdrawn, unless none would be left.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from weft.compile.endpoints import locations
from weft.compile.gateway import is_anycast
from weft.compile.macs import hop_address
from weft.compile.world import World
from weft.model.address import is_ipv6
from weft.model.network import Network
from weft.model.router import Policy
from weft.model.router import Router as Intended
from weft.model.subnet import number, span
from weft.plan.router import MAIN, POLICY_TABLE, PROTOCOLS, Hop, L3Segment, Outside, Route, Rule, irb_device

_NUMBERS = {name: number for number, name in PROTOCOLS.items()}
_POLICIES = 1000  # the first policy's rules have this priority or the next


def compile_paths(
    world: World,
    router: Intended,
    here: list[Network],
    elsewhere: list[Network],
    l3: L3Segment | None,
    outside: Outside | None,
) -> tuple[list[Route], list[Rule]]:
    """`here`: networks in which this node has an IRB of the router; `elsewhere`: the router's others."""
    way = _Way(world, router, here, l3, outside)
    routes = [Route(subnet) for network in elsewhere for subnet in network.subnets]
    if not router.placement:
        routes += [route for network in here if is_anycast(router, network) for route in _connected(router, network)]
    routes += [Route(route.to, way.hops(route.via)) for route in router.routes]
    rules: list[Rule] = []
    exempted = False
    for index, policy in enumerate(router.policies):
        if policy.to is None and not exempted:
            exempted = True
            rules += _own_networks([*here, *elsewhere], _POLICIES + 2 * index)
        table = POLICY_TABLE + index
        family = 6 if is_ipv6(policy.via[0]) else 4
        routes.append(Route("::/0" if family == 6 else "0.0.0.0/0", way.hops(policy.via), table))
        rules += _rules(policy, _POLICIES + 2 * index + 1, table, family)
    return routes, rules


def unique(routes: Iterable[Route]) -> tuple[Route, ...]:
    """One route for each destination in each table, the last told; sorted."""
    by_key = {(route.table, route.to): route for route in routes}
    return tuple(by_key[key] for key in sorted(by_key))


def _connected(router: Intended, network: Network) -> Iterator[Route]:
    """The subnets behind an anycast IRB, whose addresses stand on another device than what is routed leaves by."""
    for subnet in network.subnets:
        here = span(subnet)
        source = next((ip for ip in router.gateways[network.name] if here.holds(number(ip))), "")
        if source:
            yield Route(subnet, (Hop(device=irb_device(network.key)),), source=source)


def _own_networks(networks: list[Network], priority: int) -> list[Rule]:
    """A policy that names no destination is about what leaves the router's networks, not what stays in them."""
    subnets = [subnet for network in networks for subnet in network.subnets]
    return [Rule(priority, MAIN, 6 if is_ipv6(subnet) else 4, to=subnet) for subnet in sorted(subnets)]


def _rules(policy: Policy, priority: int, table: int, family: int) -> list[Rule]:
    protocol = _NUMBERS.get(policy.protocol or "", 0)
    return [
        Rule(priority, table, family, policy.source or "", policy.to or "", protocol, port)
        for port in policy.ports or (0,)
    ]


class _Way:
    """How next hops are reached from here."""

    def __init__(
        self, world: World, router: Intended, here: list[Network], l3: L3Segment | None, outside: Outside | None
    ) -> None:
        self._world, self._l3 = world, l3
        self._devices = [(span(subnet), irb_device(network.key)) for network in here for subnet in network.subnets]
        if outside:
            side = ipaddress.ip_interface(outside.addresses[0])
            self._devices.append((span(str(side.network)), outside.interface))
        self._networks = [world.networks[name] for name in router.gateways if name in world.networks]
        self._instances = set(world.instances(router))

    def hops(self, via: tuple[str, ...]) -> tuple[Hop, ...]:
        nodes = {hop: node_of(self._world, self._networks, hop) for hop in via}
        alive = [hop for hop in via if nodes[hop] not in self._world.dead]
        found = (self._hop(hop, nodes[hop]) for hop in sorted(alive or via, key=number))
        return tuple(hop for hop in found if hop)

    def _hop(self, via: str, node: str) -> Hop | None:
        value = number(via)
        for here, device in self._devices:
            if here.holds(value):
                return Hop(via, device)
        if self._l3 and node in self._instances and node in self._world.nodes:
            return Hop(hop_address(self._world.nodes[node].vtep, via), self._l3.device)
        return None


def node_of(world: World, networks: Iterable[Network], address: str) -> str:
    """The node behind which an address of these networks is: a placed router's or an endpoint's; "" if nobody's."""
    for network in networks:
        for router in world.routers_in(network.name):
            if router.placement and address in router.gateways[network.name]:
                return world.holder(router)
    value = number(address)
    for network in networks:
        if any(span(subnet).holds(value) for subnet in network.subnets):
            return next((place.node for place in locations(world, network) if address in place.ips), "")
    return ""
