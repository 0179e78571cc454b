"""Checks of routers: gateways in their subnets, nothing overlapping, borders where placed, advertisements heard."""

from __future__ import annotations

import ipaddress

from weft.model.address import is_ipv6
from weft.model.intent import Intent
from weft.model.network import Arp, Learning
from weft.model.router import Router
from weft.model.subnet import Span, span
from weft.model.validate.lenient import as_number, is_interface, spans
from weft.model.validate.outside import outside_problems, shared_devices
from weft.model.validate.path import path_problems
from weft.model.validate.problem import Path, Problem, name_problem, suggestion


def router_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    for name, router in intent.routers.items():
        found += name_problem(("routers", name), "router", name)
        found += _gateways(router, intent)
        found += _overlaps(router, intent)
        found += _nodes(router, intent)
        found += outside_problems(router, intent)
        found += path_problems(router, intent)
        found += _advertise(router, intent)
    return [*found, *shared_devices(intent)]


def _gateways(router: Router, intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    if not router.gateways and not router.external:
        path: Path = ("routers", router.name, "gateways")
        found.append(Problem(path, f"router '{router.name}': no gateway", "write gateways: {NETWORK: ADDRESS}"))
    for name, addresses in router.gateways.items():
        path = ("routers", router.name, "gateways", name)
        network = intent.networks.get(name)
        if network is None:
            what = f"router '{router.name}': unknown network '{name}'"
            found.append(Problem(path, what, suggestion(name, intent.networks, "network")))
            continue
        inside = spans(network.subnets)
        if not addresses:
            found.append(Problem(path, f"router '{router.name}': no gateway address in '{name}'", "write one"))
        for index, address in enumerate(addresses):
            value = as_number(address)
            if value is None or not any(here.holds(value) for here in inside):
                what = f"router '{router.name}': gateway {address} is outside network '{name}'"
                found.append(Problem((*path, index), what, f"choose one of {', '.join(network.subnets)}"))
            elif not any(here.usable(value) for here in inside):
                what = f"router '{router.name}': gateway {address} is its subnet's network or broadcast address"
                found.append(Problem((*path, index), what, "choose a host's address"))
    return found


def _overlaps(router: Router, intent: Intent) -> list[Problem]:
    """One routing table: an address may be in one of its subnets only. Sorted, overlaps stand side by side."""
    found: list[Problem] = []
    held: list[tuple[Span, str, str]] = []
    for name in router.gateways:
        network = intent.networks.get(name)
        for subnet in network.subnets if network else ():
            held += [(here, subnet, name) for here in spans([subnet])]
    outside = {
        str(ipaddress.ip_interface(side.address).network) for side in router.external if is_interface(side.address)
    }
    held += [(span(subnet), subnet, "") for subnet in outside]
    held.sort()
    widest = held[:1]  # of those before, the one that reaches furthest
    for entry in held[1:]:
        (here, one, first), (there, two, second) = widest[0], entry
        if (there.version, there.high) > (here.version, here.high):
            widest = [entry]
        if here.overlaps(there) and first != second:
            path: Path = ("routers", router.name, "gateways", second or first)
            whose = [
                f"{subnet} ({f'network {name!r}' if name else 'outside'})"
                for subnet, name in ((one, first), (two, second))
            ]
            what = f"router '{router.name}': {whose[0]} and {whose[1]} overlap"
            found.append(Problem(path, what, "give one of them another subnet, or another router"))
    return found


def _nodes(router: Router, intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    path: Path = ("routers", router.name)
    named = [((*path, "placement", i), node) for i, node in enumerate(router.placement)]
    named += [((*path, "external", side.node), side.node) for side in router.external]
    for where, node in named:
        if node not in intent.nodes:
            what = f"router '{router.name}': unknown node '{node}'"
            found.append(Problem(where, what, suggestion(node, intent.nodes, "node")))
    for index, node in enumerate(router.placement):
        if node in router.placement[:index]:
            what = f"router '{router.name}': node '{node}' stands twice in its placement"
            found.append(Problem((*path, "placement", index), what, "remove one"))
    if router.placement and router.vni is not None and not router.in_host:
        what = f"router '{router.name}': an L3 VNI, and a placement on nodes: there is no second router to send to"
        found.append(Problem((*path, "vni"), what, "remove `vni`, or use placement: distributed"))
    for side in router.external:
        if router.placement and side.node not in router.placement:
            what = f"router '{router.name}': an outside on '{side.node}', where it is not placed"
            found.append(Problem((*path, "external", side.node), what, f"add {side.node} to its placement"))
    return found


def _advertise(router: Router, intent: Intent) -> list[Problem]:
    """Advertisements are ND: where that enters no tunnel, hosts behind others would not hear a centralized gateway."""
    if not router.advertise:
        return []
    path: Path = ("routers", router.name, "advertise")
    told = [name for name, addresses in router.gateways.items() if any(is_ipv6(address) for address in addresses)]
    if not told:
        what = f"router '{router.name}': nothing to advertise: none of its gateways has an IPv6 address"
        return [Problem(path, what, "remove `advertise`, or give a gateway an IPv6 address")]
    for name in told if router.placement else ():
        network = intent.networks.get(name)
        if network and network.learning is Learning.CONTROL_PLANE and network.arp is not Arp.FLOOD:
            what = (
                f"router '{router.name}': its advertisements would not leave its node: network '{name}' suppresses ND"
            )
            return [Problem(path, what, f"use placement: distributed, or arp: flood in '{name}'")]
    return []
