"""Checks of nodes: names, VTEP addresses, no VTEP twice."""

from __future__ import annotations

import ipaddress

from weft.model.intent import Intent
from weft.model.validate.problem import Path, Problem, name_problem


def node_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    vteps: dict[str, str] = {}
    for name, node in intent.nodes.items():
        path: Path = ("nodes", name)
        found += name_problem(path, "node", name)
        found += _vtep(name, node.vtep)
        other = vteps.setdefault(node.vtep.lower(), name)
        if other != name:
            what = f"node '{name}': VTEP {node.vtep} belongs to node '{other}' already"
            found.append(Problem((*path, "vtep"), what, "every node needs an address of its own"))
    return found


def _vtep(name: str, vtep: str) -> list[Problem]:
    path: Path = ("nodes", name, "vtep")
    try:
        address = ipaddress.ip_address(vtep)
    except ValueError:
        return [Problem(path, f"node '{name}': '{vtep}' is not an IP address", "write its address on the underlay")]
    bad = (
        ("a multicast address", address.is_multicast),
        ("a loopback address, which no other host reaches", address.is_loopback),
        ("no host's address", address.is_unspecified or vtep == "255.255.255.255"),
        ("a link-local address, which means nothing beyond its link", address.version == 6 and address.is_link_local),
    )
    what = next((f"node '{name}': VTEP {vtep} is {reason}" for reason, holds in bad if holds), "")
    return [Problem(path, what, "write the node's unicast address on the underlay")] if what else []
