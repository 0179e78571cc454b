"""The world as one node's compile sees it: intent, endpoints seen and facts, indexed by network.

Mutable, kept up to date by the agent change by change; compile only reads it. Ports and endpoints, of which there can
be hundreds of thousands, stand in columns and are values only while somebody looks at them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from weft.compile.declared import Declared
from weft.compile.hosts import Grouped
from weft.compile.index import Numbers
from weft.compile.ports import OfNetwork, Ports
from weft.compile.sightings import OfSegment, Sightings
from weft.model.endpoint import Endpoint
from weft.model.intent import Intent
from weft.model.network import Network, SegmentKey
from weft.model.node import Facts, Node
from weft.model.port import Port
from weft.model.prefix import participants
from weft.model.router import Router


@dataclass(slots=True)
class World:
    """`ports`: network → port name → port. `seen`: (UDP port, VNI) → MAC → node → endpoint. Both are views of tables
    (weft.compile.ports, weft.compile.sightings), which make values on the fly. Whoever changes what a network's
    declarations are judged by calls `redeclared`. `dead`: nodes that hold a role and do not answer, as this node finds
    (weft.agent.liveness): nobody else's view."""

    nodes: dict[str, Node] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    dead: frozenset[str] = frozenset()
    names: Numbers[str] = field(default_factory=Numbers)
    declarations: Ports = field(init=False)
    sightings: Sightings = field(init=False)
    _declared: dict[str, Declared] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.declarations, self.sightings = Ports(self.names), Sightings(self.names)

    @staticmethod
    def of(intent: Intent, facts: Mapping[str, Facts] | None = None, seen: Iterable[Endpoint] = ()) -> World:
        world = World(dict(intent.nodes), dict(intent.networks), dict(intent.routers), facts=dict(facts or {}))
        for port in intent.ports.values():
            world.declarations.put(port)
        for endpoint in seen:
            world.see(endpoint)
        return world

    @property
    def ports(self) -> Grouped[str, OfNetwork]:
        """Network → port name → port."""
        return Grouped(self.declarations, lambda network: OfNetwork(self.declarations, network))

    @property
    def seen(self) -> Grouped[SegmentKey, OfSegment]:
        """Segment → MAC → node → endpoint."""
        return Grouped(self.sightings, lambda key: OfSegment(self.sightings, key))

    def ports_on(self, network: str, node: str) -> list[Port]:
        """The ports of a network on a node."""
        return [self.declarations.at(row) for row in self.declarations.on(network, node)]

    def declared(self, network: str) -> Declared:
        """The declarations of a network, indexed; kept until `redeclared`."""
        found = self._declared.get(network)
        if found is None:
            gateways = (ip for router in self.routers.values() for ip in router.gateways.get(network, ()))
            found = self._declared[network] = Declared.of(self.declarations, network, frozenset(gateways))
        return found

    def put_port(self, network: str, name: str, port: Port | None, *, unique: bool = False) -> None:
        """A port, or None, where a port may stand. `unique`: it shares no MAC and no IP with another one there."""
        before = self.declarations.take(network, name) if port is None else self.declarations.put(port)
        declared = self._declared.get(network)
        if unique and declared is not None and declared.unique:
            declared.replace(before, port)
        else:
            self._declared.pop(network, None)

    def drop_ports(self, network: str) -> None:
        """Forgets all ports of a network."""
        self.declarations.drop(network)
        self._declared.pop(network, None)

    def redeclared(self, network: str | None = None) -> None:
        """Declarations of this network (or of any) have changed."""
        if network is None:
            self._declared.clear()
        else:
            self._declared.pop(network, None)

    def see(self, endpoint: Endpoint) -> Endpoint | None:
        """Puts an endpoint in its place; the one that stood there before."""
        return self.sightings.put(endpoint)

    def forget(self, key: SegmentKey, mac: str, node: str) -> Endpoint | None:
        """Takes an endpoint away; the one that stood there, if any."""
        return self.sightings.take(key, mac, node)

    def endpoints(self) -> Iterator[Endpoint]:
        """Every endpoint seen."""
        return iter(self.sightings)

    def intent(self) -> Intent:
        """All that is declared. The ports are made for it: keep it no longer than it is looked at."""
        ports = {port.name: port for port in self.declarations}
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
        return set(self.declared(network).nodes)

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
