"""A made-up fleet of any size: the same numbers make the same fleet. Pure.

A network's ports stand on `spread` nodes side by side, as a tenant's do; so what one node takes part in depends on the
spread and on how many ports a network has, and not on how large the fleet is.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from weft.model.address import int_to_mac
from weft.model.endpoint import LEARNED, Endpoint
from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent
from weft.model.network import Network
from weft.model.node import Node
from weft.model.port import Attach, AttachKind, Port

_MAC = 0x02 << 40
_UNDERLAY = int(ipaddress.IPv4Address("172.16.0.1"))
_SUBNET = int(ipaddress.IPv4Address("10.0.0.0"))
_FIRST_VNI = 5000


@dataclass(frozen=True, slots=True)
class Size:
    """How large a fleet is; `spread`: on how many nodes a network's ports stand."""

    nodes: int
    networks: int
    ports: int
    spread: int

    def check(self) -> None:
        """Raises USAGE for numbers that make no fleet."""
        most = {"nodes": 100_000, "networks": 100_000, "ports": 1_000_000, "spread": self.nodes}
        for name, limit in most.items():
            value = getattr(self, name)
            least = 2 if name in ("nodes", "spread") else 1
            if not least <= value <= limit:
                what, remedy = f"--{name} {value} is out of range", f"choose {least} to {limit}"
                if name == "spread" and value > limit:
                    what = f"--spread {value}: a network's ports cannot stand on {value} of {limit} nodes"
                    remedy = f"{remedy}, or more --nodes"
                raise WeftError(Kind.USAGE, what, remedy=remedy)
        if self.ports // self.networks >= 1 << 14:
            raise WeftError(Kind.USAGE, "too many ports for a network's subnet", remedy="choose more networks")

    def part(self, share: float) -> Size:
        """A fleet of this share of the size, in which each network and each node is like those of the whole."""
        nodes = max(2, round(self.nodes * share))
        networks = max(1, round(self.networks * share))
        return Size(nodes, networks, max(1, round(self.ports * share)), min(self.spread, nodes))

    def node_of(self, network: int, rank: int) -> int:
        """The node of a network's port, by number."""
        return (network * self.nodes // self.networks + rank % self.spread) % self.nodes


def fleet(size: Size) -> Intent:
    """Its intent, valid and complete."""
    nodes = (
        Node(name=f"n{number}", vtep=str(ipaddress.IPv4Address(_UNDERLAY + number))) for number in range(size.nodes)
    )
    networks = (network(number) for number in range(size.networks))
    ports = (port(size, number % size.networks, number // size.networks) for number in range(size.ports))
    return Intent(
        {node.name: node for node in nodes},
        {each.name: each for each in networks},
        {},
        {each.name: each for each in ports},
    )


def network(number: int) -> Network:
    subnet = f"{ipaddress.IPv4Address(_SUBNET)}/17"
    return Network(name=f"net{number}", vni=_FIRST_VNI + number, subnets=(subnet,))


def port(size: Size, of: int, rank: int, node: int | None = None) -> Port:
    """The port of this rank in a network; `node`: elsewhere than ranks go."""
    name = f"p{of}-{rank}"
    return Port(
        name=name,
        network=f"net{of}",
        node=f"n{size.node_of(of, rank) if node is None else node}",
        attach=Attach(kind=AttachKind.TAP, target=f"t{of:x}-{rank:x}"),
        mac=int_to_mac(_MAC | rank),
        ips=(str(ipaddress.IPv4Address(_SUBNET + 1 + rank)),),
    )


def sighting(size: Size, of: int, rank: int) -> Endpoint:
    """A host that was learned behind a network's first node but one."""
    where = port(size, of, 1)
    ip = str(ipaddress.IPv4Address(_SUBNET + (1 << 14) + rank))
    mac = int_to_mac(_MAC | 1 << 32 | rank)
    return Endpoint(key=network(of).key, mac=mac, node=where.node, ips=(ip,), source=LEARNED, port=where.name)
