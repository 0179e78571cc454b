"""Ports that come, change or go on other nodes, judged and told by themselves, at the same cost in any fleet.

Where the whole world is sound (no problem anywhere), a port that is sound itself and shares nothing with another one
leaves it so, and one that goes cannot break it. All that such a port changes here are its rows, if it makes nobody a
member and joins no router's network. What is not surely so takes the long way: all is validated, its network compiled.
"""

from __future__ import annotations

from weft.compile.world import World
from weft.model.address import parse_ip, parse_unicast_mac
from weft.model.errors import WeftError
from weft.model.intent import Intent
from weft.model.port import AttachKind, Port
from weft.model.validate.facts import contradictions
from weft.model.validate.port import place_of, port_problems


def fits(world: World, own: str, before: Port | None, port: Port | None) -> bool:
    """Whether a world that is sound for node `own` stays so when `port` stands where `before` stood, which is there
    still. What stands on the node itself is compared with what the node can do, too."""
    if port is None or port == before:
        return True
    network, node = world.networks.get(port.network), world.nodes.get(port.node)
    if network is None or node is None or not _plain(port):
        return False
    alone = Intent({node.name: node}, {network.name: network}, {}, {port.name: port})
    if port_problems(alone) or (port.node == own and contradictions(alone, world.facts)):
        return False
    declared = world.declared(network.name)
    if not declared.unique or port.node not in declared.nodes:  # a new member can be of the other address family
        return False
    old_mac, old_ips = (before.mac, before.ips) if before else ("", ())
    if port.mac != old_mac and port.mac in declared.macs:
        return False
    if any((ip in declared.ips and ip not in old_ips) or ip in declared.gateways for ip in port.ips):
        return False
    if before is None and world.declarations.networks_with(port.name):
        return False
    same_place = before is not None and place_of(before) == place_of(port)
    return same_place or not (world.declarations.taken(place_of(port)) or _outside(world, port))


def _plain(port: Port) -> bool:
    """Addresses are written as weft writes them, so that equal ones are equal texts."""
    try:
        mac = parse_unicast_mac(port.mac) if port.mac else ""
        return (mac, *map(parse_ip, port.ips)) == (port.mac, *port.ips)
    except WeftError:
        return False


def _outside(world: World, port: Port) -> bool:
    """Whether the port's device is a border's."""
    if port.attach.kind in (AttachKind.HOST, AttachKind.NAMESPACE):
        return False
    sides = (side for router in world.routers.values() for side in router.external)
    return any((side.node, side.interface) == (port.node, port.attach.target) for side in sides)


def rows_alone(world: World, own: str, before: Port | None, port: Port | None) -> bool:
    """Whether of this node's plan only rows of the port's MAC and IPs change when `port` stands where `before` stood,
    which is there still."""
    both = [each for each in (before, port) if each is not None]
    network = world.networks.get(both[0].network) if both else None
    if network is None or any(each.node == own for each in both):
        return False
    if any(network.name in router.gateways for router in world.routers.values()):
        return False
    nodes = world.declared(network.name).nodes
    if port is not None and port.node not in nodes:
        return False
    if before is not None and nodes[before.node] < 2 and (port is None or port.node != before.node):
        return False
    # What was seen here is the learner's to judge again.
    seen = world.sightings
    return not any(
        own in seen.of(network.key, each.mac)
        or any(node == own for ip in each.ips for _, node in seen.holders(network.key, ip))
        for each in both
    )
