"""What intent asks of a node and the node has said that it cannot: known only where it has reported its facts."""

from __future__ import annotations

from collections.abc import Mapping

from weft.model.address import is_ipv6, overhead
from weft.model.intent import Intent
from weft.model.node import DatapathKind, Facts, Node
from weft.model.port import AttachKind
from weft.model.validate.network import members
from weft.model.validate.problem import Path, Problem

# A feature that `Facts.missing` may name → who needs it. A feature with another name is needed by the node itself.
_OF_DATAPATH = {
    "vxlan": DatapathKind.KERNEL,
    "bridge": DatapathKind.KERNEL,
    "openvswitch": DatapathKind.OVS,
    "ovs": DatapathKind.OVS,
}
_OF_ATTACH = {"veth": AttachKind.NAMESPACE, "netns": AttachKind.NAMESPACE, "tap": AttachKind.TAP, "tun": AttachKind.TAP}


def contradictions(intent: Intent, facts: Mapping[str, Facts]) -> list[Problem]:
    """Problems that the facts of nodes show; a node without facts, or that holds no part of this intent, shows none."""
    found: list[Problem] = []
    kinds: dict[str, set[AttachKind]] = {}
    for port in intent.ports.values():
        kinds.setdefault(port.node, set()).add(port.attach.kind)
    joined = members(intent)
    ipv6 = {
        node
        for name, nodes in joined.items()
        if name in intent.networks and any(is_ipv6(subnet) for subnet in intent.networks[name].subnets)
        for node in nodes
    }
    for name, node in intent.nodes.items():
        fact = facts.get(name)
        if fact is not None:
            found += _address(node, fact)
            found += _missing(node, fact, kinds.get(name, set()), name in ipv6 or is_ipv6(node.vtep))
    for name, network in intent.networks.items():
        for member in joined.get(name, ()) if network.mtu is not None else ():
            if member in intent.nodes and member in facts:
                found += _mtu(name, network.mtu or 0, intent.nodes[member], facts[member])
    return found


def _address(node: Node, fact: Facts) -> list[Problem]:
    addresses = {address.partition("/")[0] for address in fact.addresses}
    if node.vtep in addresses:
        return []
    path: Path = ("nodes", node.name, "vtep")
    has = f"it has {', '.join(sorted(addresses)[:4])}" if addresses else "it has none"
    return [Problem(path, f"node '{node.name}': VTEP {node.vtep} is not on the host ({has})", "correct one of the two")]


def _mtu(network: str, mtu: int, node: Node, fact: Facts) -> list[Problem]:
    extra = overhead(node.vtep)
    if fact.underlay_mtu is None or mtu <= fact.underlay_mtu - extra:
        return []
    path: Path = ("networks", network, "mtu")
    what = (
        f"network '{network}': MTU {mtu} and VXLAN's {extra} octets are more than the {fact.underlay_mtu} that "
        f"node '{node.name}' carries on {fact.interface or 'its underlay'}"
    )
    return [Problem(path, what, f"lower it to {fact.underlay_mtu - extra}, or raise the underlay's MTU")]


def _missing(node: Node, fact: Facts, kinds: set[AttachKind], ipv6: bool) -> list[Problem]:
    found = []
    for feature, remedy in sorted(fact.missing.items()):
        unused = (
            _OF_DATAPATH.get(feature, node.datapath) is not node.datapath
            or (feature in _OF_ATTACH and _OF_ATTACH[feature] not in kinds)
            or (feature == "ipv6" and not ipv6)
        )
        if not unused:
            what = f"node '{node.name}': its host lacks {feature}"
            found.append(Problem(("nodes", node.name), what, remedy))
    return found
