"""What happens to a lab in the middle of a test: a host falls off the underlay, comes back; a port moves."""

from __future__ import annotations

import msgspec

from weft.lab import build, fleet
from weft.lab.names import Names
from weft.lab.state import LabState
from weft.lab.topology import Machine, Topology, container_name, netns_of
from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent
from weft.model.lab import Heal, Kill, Move
from weft.model.port import AttachKind
from weft.netlink.channel import Channel
from weft.netlink.links import Change, Links


def happen(place: LabState, names: Names, what: Kill | Heal | Move) -> Names:
    """Makes it happen; the names of the lab as it is then. Raises WeftError."""
    match what:
        case Kill(node=node):
            _plug(names.topology, node, False)
        case Heal(node=node):
            _plug(names.topology, node, True)
        case Move():
            return _move(place, names, what)
    return names


def _plug(topology: Topology, node: str, up: bool) -> None:
    channel = Channel(namespace=topology.fabric)
    try:
        links = Links(channel)
        for link in topology.machine(node).links:
            if found := links.get(link.port):
                links.change(found, Change(up=up))
    finally:
        channel.close()


def _move(place: LabState, names: Names, move: Move) -> Names:
    """A new end point on the other node, before the store says so; the old one is left behind, as after a crash."""
    port = names.intent.ports[move.port]
    if port.attach.kind is not AttachKind.NAMESPACE:
        raise WeftError(Kind.INVALID, "only a port in a namespace can move", where=f"port {port.name}")
    moved = msgspec.structs.replace(port, node=move.node)
    intent = Intent(
        names.intent.nodes, names.intent.networks, names.intent.routers, names.intent.ports | {port.name: moved}
    )
    topology = names.topology
    name = container_name(move.node, port.attach.target)
    if all(machine.name != name for machine in topology.machines):
        machine = Machine(name=name, kind="container", netns=netns_of(topology.lab, name))
        topology = msgspec.structs.replace(topology, machines=(*topology.machines, machine))
        place.write(msgspec.structs.replace(place.record(), topology=topology, intent=intent))
        build.add_end(machine)
    fleet.store(place, intent)
    return Names(intent, topology)
