"""Checks of routed networks: one pool, room for every node, prefixes of its own, and nothing of layer 2 in them."""

from __future__ import annotations

from collections.abc import Iterator

from weft.model.intent import Intent
from weft.model.network import Network, Routed
from weft.model.node import DatapathKind
from weft.model.prefix import fits, participants, size
from weft.model.subnet import Span, number, span
from weft.model.validate.problem import Path, Problem, suggestion

_LONGEST = {4: 30, 6: 126}


def routed_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    pools: list[tuple[Span, Network]] = []
    for network in intent.networks.values():
        if (routed := network.routed) is None:
            continue
        pool = _pool(network)
        if pool is None:
            what = f"network '{network.name}': a routed network has one subnet, the pool of its nodes' prefixes"
            found.append(Problem(("networks", network.name, "subnets"), what, "write subnet: 10.2.0.0/16"))
            continue
        nodes = list(_nodes(network, routed, intent))
        found += nodes or _prefixes(network, routed, pool, intent)
        found += _underlay(network, pool, intent)
        for other_pool, other in pools:
            if pool.overlaps(other_pool):
                what = f"network '{network.name}': its subnet overlaps with that of routed network '{other.name}'"
                remedy = "both are in the hosts' routing tables: make them apart"
                found.append(Problem(("networks", network.name, "subnets"), what, remedy))
        pools.append((pool, network))
    return [*found, *_strangers(intent)] if pools else found


def _pool(network: Network) -> Span | None:
    try:
        (subnet,) = network.subnets
        return span(subnet)
    except ValueError:
        return None


def _nodes(network: Network, routed: Routed, intent: Intent) -> Iterator[Problem]:
    path: Path = ("networks", network.name, "routed")
    for index, node in enumerate(routed.nodes):
        if node not in intent.nodes:
            what = f"network '{network.name}': unknown node '{node}'"
            yield Problem((*path, "nodes", index), what, suggestion(node, intent.nodes, "node"))
        elif node in routed.nodes[:index]:
            yield Problem(
                (*path, "nodes", index), f"network '{network.name}': node '{node}' stands twice", "remove one"
            )
    for node in participants(network, intent.nodes):
        kind = intent.nodes[node].datapath
        if kind is not DatapathKind.KERNEL:
            what = f"network '{network.name}': datapath {kind} of node '{node}' has no routed networks"
            remedy = "use datapath: kernel there, or list the other nodes under routed: {nodes: […]}"
            yield Problem(path, what, remedy)
            return


def _prefixes(network: Network, routed: Routed, pool: Span, intent: Intent) -> list[Problem]:
    path: Path = ("networks", network.name, "routed")
    subject, subnet = f"network '{network.name}'", network.subnets[0]
    shortest, longest = int(subnet.partition("/")[2]), _LONGEST[pool.version]
    if not shortest <= routed.prefix_length <= longest:
        what = f"{subject}: prefix length {routed.prefix_length} is out of range"
        remedy = f"choose {shortest} to {longest}" if shortest <= longest else f"{subnet} is too small to be shared out"
        return [Problem((*path, "prefix_length"), what, remedy)]
    found: list[Problem] = []
    names = participants(network, intent.nodes)
    owners: dict[str, str] = {}
    for node, prefix in routed.prefixes.items():
        if node in routed.assigned and node not in names:
            continue  # of one that has left: free with the next apply
        where = (*path, "prefixes", node)
        if node not in names:
            remedy = suggestion(node, names, "node") if node not in intent.nodes else "list it under `nodes`"
            found.append(Problem(where, f"{subject}: '{node}' is none of its nodes", remedy))
        elif not fits(prefix, network, routed):
            what = f"{subject}: {prefix} of node '{node}' is no /{routed.prefix_length} of {subnet}"
            found.append(Problem(where, what, "choose one, or leave it out to get one assigned"))
        elif (other := owners.setdefault(prefix, node)) != node:
            what = f"{subject}: {prefix} of node '{node}' is node '{other}'s already"
            found.append(Problem(where, what, "every node needs a prefix of its own"))
    room = (pool.high - pool.low + 1) // size(pool, routed)
    if not found and room < len(names):
        what = f"{subject}: {subnet} has {room} prefixes of /{routed.prefix_length} for {len(names)} nodes"
        found.append(Problem(path, what, "use a larger subnet or a longer prefix_length, or list fewer `nodes`"))
    return found


def _underlay(network: Network, pool: Span, intent: Intent) -> list[Problem]:
    """A VTEP in the pool would be reached through itself."""
    for node in participants(network, intent.nodes):
        try:
            inside = pool.holds(number(intent.nodes[node].vtep))
        except ValueError:
            continue
        if inside:
            what = f"network '{network.name}': VTEP {intent.nodes[node].vtep} of node '{node}' lies in its subnet"
            remedy = "choose a subnet that is not the underlay's"
            return [Problem(("networks", network.name, "subnets"), what, remedy)]
    return []


def _strangers(intent: Intent) -> Iterator[Problem]:
    """Ports and gateways, which need a segment to stand in."""
    routed = {name for name, network in intent.networks.items() if network.routed}
    for name, port in intent.ports.items():
        if port.network in routed:
            what = f"port '{name}': network '{port.network}' is routed and has no ports"
            yield Problem(
                ("ports", name, "network"), what, "attach it to a bridge of the host that has the node's prefix"
            )
    for name, router in intent.routers.items():
        for network in router.gateways:
            if network in routed:
                what = f"router '{name}': network '{network}' is routed and has no gateways"
                yield Problem(("routers", name, "gateways", network), what, "its nodes' own stacks are its routers")
