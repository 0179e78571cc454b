"""The world as one node's compile sees it: intent, endpoints seen and facts, indexed by network.

A plain mutable index that the agent keeps up to date change by change; compile only reads it. Endpoints come and go
through `see` and `forget` alone, which keep the index by IP address true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from weft.model.address import is_canonical_ip, is_canonical_mac
from weft.model.endpoint import Endpoint
from weft.model.intent import Intent
from weft.model.network import Network, SegmentKey
from weft.model.node import Facts, Node
from weft.model.port import Port
from weft.model.prefix import participants
from weft.model.router import Router
from weft.model.validate.port import place_of


@dataclass(frozen=True, slots=True)
class Declared:
    """What the declarations of one network say: ports by MAC, MACs by IP, addresses of gateways, ports by node.

    `unique`: no two ports share a MAC or an IP, and all are written as weft writes them."""

    macs: dict[str, Port]
    ips: dict[str, str]
    gateways: frozenset[str]
    nodes: Counter[str]
    unique: bool

    @staticmethod
    def of(ports: Collection[Port], gateways: frozenset[str]) -> Declared:
        macs = {port.mac: port for port in ports if port.mac}
        ips = {ip: port.mac for port in ports for ip in port.ips}
        alone = len(macs) == sum(1 for port in ports if port.mac) and len(ips) == sum(len(port.ips) for port in ports)
        plain = all(map(is_canonical_mac, macs)) and all(map(is_canonical_ip, ips))
        return Declared(macs, ips, gateways, Counter(port.node for port in ports), alone and plain)

    def replace(self, before: Port | None, port: Port | None) -> None:
        """One port instead of another, where all are unique and stay so."""
        if before is not None:
            self.macs.pop(before.mac, None)
            for ip in before.ips:
                self.ips.pop(ip, None)
            self.nodes[before.node] -= 1
            if not self.nodes[before.node]:
                del self.nodes[before.node]
        if port is not None:
            if port.mac:
                self.macs[port.mac] = port
            self.ips.update(dict.fromkeys(port.ips, port.mac))
            self.nodes[port.node] += 1


@dataclass(slots=True)
class World:
    """`ports`: network → port name → port. `seen`: (UDP port, VNI) → MAC → node → endpoint. `holders`: (UDP port, VNI)
    → IP → (MAC, node) of the endpoints that have it. Whoever changes declarations calls `redeclared`. `dead`: nodes
    that hold a role and do not answer, as this node finds (weft.agent.liveness): nobody else's view."""

    nodes: dict[str, Node] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    ports: dict[str, dict[str, Port]] = field(default_factory=dict)
    seen: dict[SegmentKey, dict[str, dict[str, Endpoint]]] = field(default_factory=dict)
    holders: dict[SegmentKey, dict[str, set[tuple[str, str]]]] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    dead: frozenset[str] = frozenset()
    _declared: dict[str, Declared] = field(default_factory=dict)
    _places: Counter[int] | None = None  # hashes of ports' places; made when first asked for

    @staticmethod
    def of(intent: Intent, facts: Mapping[str, Facts] | None = None, seen: Iterable[Endpoint] = ()) -> World:
        world = World(dict(intent.nodes), dict(intent.networks), dict(intent.routers), facts=dict(facts or {}))
        for port in intent.ports.values():
            world.ports.setdefault(port.network, {})[port.name] = port
        for endpoint in seen:
            world.see(endpoint)
        return world

    def declared(self, network: str) -> Declared:
        """The declarations of a network, indexed; kept until `redeclared`."""
        found = self._declared.get(network)
        if found is None:
            gateways = (ip for router in self.routers.values() for ip in router.gateways.get(network, ()))
            ports = self.ports.get(network, {}).values()
            found = self._declared[network] = Declared.of(ports, frozenset(gateways))
        return found

    def put_port(self, network: str, name: str, port: Port | None, *, unique: bool = False) -> None:
        """A port, or None, where a port may stand. `unique`: it shares no MAC and no IP with another one there."""
        ports = self.ports.setdefault(network, {})
        before = ports.get(name)
        if port is not None:
            ports[name] = port
        else:
            ports.pop(name, None)
        if self._places is not None:
            for each, count in ((before, -1), (port, 1)):
                if each is not None:
                    self._places[hash(place_of(each))] += count
        declared = self._declared.get(network)
        if unique and declared is not None and declared.unique:
            declared.replace(before, port)
        else:
            self._declared.pop(network, None)

    def taken(self, place: tuple[str, ...]) -> bool:
        """Whether a port stands there already; now and then True where none does."""
        if self._places is None:
            ports = (port for of_network in self.ports.values() for port in of_network.values())
            self._places = Counter(hash(place_of(port)) for port in ports)
        return self._places[hash(place)] > 0

    def drop_ports(self, network: str) -> None:
        """Forgets all ports of a network."""
        self.ports.pop(network, None)
        self._declared.pop(network, None)
        self._places = None

    def redeclared(self, network: str | None = None) -> None:
        """Declarations of this network (or of any) have changed."""
        if network is None:
            self._declared.clear()
        else:
            self._declared.pop(network, None)

    def see(self, endpoint: Endpoint) -> Endpoint | None:
        """Puts an endpoint in its place; the one that stood there before."""
        before = self.forget(endpoint.key, endpoint.mac, endpoint.node)
        self.seen.setdefault(endpoint.key, {}).setdefault(endpoint.mac, {})[endpoint.node] = endpoint
        holders = self.holders.setdefault(endpoint.key, {})
        for ip in endpoint.ips:
            holders.setdefault(ip, set()).add((endpoint.mac, endpoint.node))
        return before

    def forget(self, key: SegmentKey, mac: str, node: str) -> Endpoint | None:
        """Takes an endpoint away; the one that stood there, if any."""
        of_segment = self.seen.get(key, {})
        before = of_segment.get(mac, {}).pop(node, None)
        if before is None:
            return None
        if not of_segment[mac]:
            del of_segment[mac]
        holders = self.holders[key]
        for ip in set(before.ips):
            holders[ip].discard((mac, node))
            if not holders[ip]:
                del holders[ip]
        return before

    def endpoints(self) -> Iterator[Endpoint]:
        """Every endpoint seen."""
        return (
            endpoint
            for of_segment in self.seen.values()
            for of_mac in of_segment.values()
            for endpoint in of_mac.values()
        )

    def intent(self) -> Intent:
        ports = {name: port for of_network in self.ports.values() for name, port in of_network.items()}
        return Intent(self.nodes, self.networks, self.routers, ports)

    def members(self, network: str) -> list[Node]:
        """The nodes that take part in a network, by name: with a port, a router that needs it there, or a prefix."""
        names = self.with_ports(network)
        declared = self.networks.get(network)
        if declared and declared.routed:
            names.update(participants(declared, self.nodes))
        for router in self.routers_in(network):
            if router.placement:
                names.update(router.placement)
            elif router.vni is None:  # asymmetric IRB: what leaves by any network can enter by any other
                names.update(self.instances(router))
        return [self.nodes[name] for name in sorted(names) if name in self.nodes]

    def with_ports(self, network: str) -> set[str]:
        return {port.node for port in self.ports.get(network, {}).values()}

    def routers_in(self, network: str) -> list[Router]:
        """Routers with a gateway in the network, distributed ones first, then by name."""
        found = (router for router in self.routers.values() if network in router.gateways)
        return sorted(found, key=lambda router: (bool(router.placement), router.name))

    def holder(self, router: Router) -> str:
        """The node that has a centralized router: of those alive, the first in its list; if none is, the first."""
        known = [node for node in router.placement if node in self.nodes]
        return next((node for node in known if node not in self.dead), known[0] if known else "")

    def instances(self, router: Router) -> list[str]:
        """The nodes that have this router, by name.

        A distributed one: where its networks have ports; and where a placed router of one of them is, if one of the
        two is the other's next hop and they could not meet otherwise.
        """
        if router.placement:
            return [holder] if (holder := self.holder(router)) else []
        names = {node for network in router.gateways for node in self.with_ports(network)}
        for other in self.routers.values():
            if other.placement and _meet(router, other):
                names.add(self.holder(other))
        return sorted(name for name in names if name in self.nodes)

    def neighbors_of(self, networks: Iterable[str]) -> set[str]:
        """These networks, and all that routers join with them: what one change can reach."""
        return reached(networks, self.routers.values())


def reached(networks: Iterable[str], routers: Iterable[Router]) -> set[str]:
    """These networks, and all that these routers join with them."""
    found, left = set(networks), list(routers)
    while True:
        more = {name for router in left if not found.isdisjoint(router.gateways) for name in router.gateways}
        if more <= found:
            return found
        found |= more


def hops(router: Router) -> set[str]:
    """Every next hop that the router's routes and policies name."""
    return {hop for route in router.routes for hop in route.via} | {hop for p in router.policies for hop in p.via}


def _meet(router: Router, placed: Router) -> bool:
    """Whether a distributed router must stand beside a placed one: it is its next hop, or, over an L3 VNI, the other
    way round."""
    shared = router.gateways.keys() & placed.gateways.keys()
    return any(
        not hops(placed).isdisjoint(router.gateways[network])
        or (router.vni is not None and not hops(router).isdisjoint(placed.gateways[network]))
        for network in shared
    )
