"""What the datapath of a node cannot be, whatever its host can: known from intent alone."""

from __future__ import annotations

from collections.abc import Iterable

from weft.model.intent import Intent
from weft.model.network import Arp
from weft.model.node import DatapathKind
from weft.model.validate.network import members
from weft.model.validate.problem import Problem


def datapath_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    joined = members(intent)
    for name, network in intent.networks.items():
        if network.arp is Arp.PROXY and (node := _on(intent, joined.get(name, ()), {DatapathKind.OVS})):
            what = f"network '{name}': arp proxy, and node '{node}' is on Open vSwitch, which has no way to it"
            remedy = f"use arp: suppress or arp: flood, or datapath: kernel on '{node}'"
            found.append(Problem(("networks", name, "arp"), what, remedy))
    for name, router in intent.routers.items():
        if router.vni is None or router.placement:
            continue
        at = {port.node: None for port in intent.ports.values() if port.network in router.gateways}
        if node := _on(intent, at, {DatapathKind.OVS, DatapathKind.USER}):
            kind = intent.nodes[node].datapath
            what = f"router '{name}': its L3 VNI would never reach node '{node}', whose datapath {kind} takes all VXLAN"
            remedy = f"leave `vni` out (asymmetric IRB), or use datapath: kernel on '{node}'"
            found.append(Problem(("routers", name, "vni"), what, remedy))
    return found


def _on(intent: Intent, nodes: Iterable[str], kinds: set[DatapathKind]) -> str:
    """The first of these nodes that is on such a datapath."""
    return next((name for name in nodes if name in intent.nodes and intent.nodes[name].datapath in kinds), "")
