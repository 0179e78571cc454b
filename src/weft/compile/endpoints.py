"""Who is where in a network: declared ports and sightings resolved into one place per MAC and one MAC per IP.

Where a port is declared on a node, the declaration wins over a sighting elsewhere; `mobile: true` on the port reverses
that. Between sightings the higher sequence number wins, and of equals the first node by name, so that every node comes
to the same answer. An IP address belongs to its gateway, else to the port that declares it, else to the newest
endpoint that has it. Only nodes that take part in the network count.

Each question costs what its answer needs, never a walk through the network: `weft.compile.rows` asks for one MAC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from weft.compile.world import World
from weft.model.endpoint import Endpoint
from weft.model.network import Network


class Location(NamedTuple):
    """A MAC, the node it is behind, and its IP addresses."""

    mac: str
    node: str
    ips: tuple[str, ...]


def beats(one: Endpoint, other: Endpoint) -> bool:
    """Whether of two endpoints with one MAC the first is the newer one."""
    return (-one.sequence, one.node) < (-other.sequence, other.node)


def newest(world: World, network: Network, mac: str) -> Endpoint | None:
    """The sighting of a MAC that counts among all nodes'."""
    nodes = world.declared(network.name).nodes
    found: Endpoint | None = None
    for endpoint in world.sightings.of(network.key, mac).values():
        known = endpoint.node in nodes and endpoint.node in world.nodes
        if known and (found is None or beats(endpoint, found)):
            found = endpoint
    return found


def locate(world: World, network: Network, mac: str) -> Location | None:
    """Where one MAC is; None where nobody has it."""
    port = world.declared(network.name).macs.get(mac)
    sighting = newest(world, network, mac)
    if port and (sighting is None or not (port.mobile or sighting.node == port.node)):
        return Location(mac, port.node, port.ips)
    if sighting is None:
        return None
    own = port.ips if port else ()
    more = (ip for ip in sighting.ips if ip not in own and owner(world, network, ip) == mac)
    return Location(mac, sighting.node, (*own, *more))


def owner(world: World, network: Network, ip: str) -> str | None:
    """The MAC that has an IP address; None for a gateway's, and where nobody has it."""
    declared = world.declared(network.name)
    if ip in declared.gateways:
        return None
    if (mine := declared.ips.get(ip)) is not None:
        return mine
    found: Endpoint | None = None
    for mac, node in world.sightings.holders(network.key, ip):
        sighting = newest(world, network, mac)
        port = declared.macs.get(mac)
        here = sighting is not None and sighting.node == node and (port is None or port.mobile or port.node == node)
        if sighting and here and (found is None or _rank(sighting) < _rank(found)):
            found = sighting
    return found.mac if found else None


def _rank(endpoint: Endpoint) -> tuple[int, str]:
    return -endpoint.sequence, endpoint.mac


def standing(world: World, network: Network | None, endpoint: Endpoint) -> str:
    """What a sighting comes to: `frozen`, `older` than another node's, `overridden` by a declaration, or ""."""
    if network is None or newest(world, network, endpoint.mac) != endpoint:
        return "older" if network else "no network"
    place = locate(world, network, endpoint.mac)
    if place and place.node != endpoint.node:
        return "overridden"
    return "frozen" if endpoint.frozen else ""


def locations(world: World, network: Network) -> Iterator[Location]:
    """Every endpoint of the network, each MAC once."""
    seen = dict.fromkeys(world.seen.get(network.key, ()))
    ports = map(world.declarations.at, world.declarations.rows(network.name).tolist())
    declared = {port.mac: port for port in ports if port.mac}
    for mac, port in declared.items():
        if mac in seen:
            yield from located(world, network, (mac,))
        else:
            yield Location(mac, port.node, port.ips)
    yield from located(world, network, (mac for mac in seen if mac not in declared))


def located(world: World, network: Network, macs: Iterable[str]) -> Iterator[Location]:
    """Where these MACs are."""
    for mac in macs:
        place = locate(world, network, mac)
        if place is not None:
            yield place
