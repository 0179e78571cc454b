"""Where a node learns, and which addresses a host there can have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from weft.compile.world import World
from weft.model.address import is_ipv6
from weft.model.network import Learning, Network
from weft.model.port import AttachKind
from weft.model.subnet import Span, number, span

_LINK_LOCAL = 0xFE80 >> 6  # the first ten bits, RFC 4291 section 2.5.6


@dataclass(frozen=True, slots=True)
class Scope:
    """A network that learns from these ports of the node; `spans`: its subnets."""

    network: Network
    ports: frozenset[str]
    spans: tuple[Span, ...]

    def at(self, port: str) -> str:
        """The beginning of a note about a port."""
        return f"{self.network.name}, port {port}"


def scopes(world: World, node: str) -> Iterator[Scope]:
    """Control-plane networks with ports on the node, but for the host's own: it is declared, and no device shows it."""
    for name in world.declarations.groups_on(node):
        network = world.networks.get(name)
        if network is None or network.learning is not Learning.CONTROL_PLANE:
            continue
        ports = frozenset(world.declarations.names_on(name, node, without=AttachKind.HOST))
        if ports:
            try:
                yield Scope(network, ports, tuple(span(subnet) for subnet in network.subnets))
            except ValueError:  # such a network is held, and `weft status` says why
                continue


def is_host(mac: str) -> bool:
    """Whether a frame can come from this MAC: not multicast, not all zeros."""
    return not int(mac[:2], 16) & 1 and mac != "00:00:00:00:00:00"


def is_link_local(ip: str) -> bool:
    """Every IPv6 host has one, and it says nothing of the network."""
    return is_ipv6(ip) and number(ip)[1] >> 118 == _LINK_LOCAL


def objection(world: World, scope: Scope, mac: str, ip: str) -> str:
    """Why a host with this MAC cannot have this IP; "" where it can."""
    if not any(each.usable(number(ip)) for each in scope.spans):
        return f"{mac} uses {ip}, which no host of {' '.join(scope.network.subnets)} can have"
    declared = world.declared(scope.network.name)
    if ip in declared.gateways:
        return f"{mac} uses {ip}, which is the gateway's"
    other = declared.ips.get(ip, mac)
    if other == mac:
        return ""
    whose = f"port {declared.macs[other].name}" if other in declared.macs else "another port"
    return f"{mac} uses {ip}, which {whose} declares"
