"""Checks of routers: gateways in their subnets, nothing overlapping, next hops within reach, borders where placed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from weft.model.address import is_ipv6
from weft.model.intent import Intent
from weft.model.network import Arp, Learning
from weft.model.router import Router
from weft.model.subnet import Span, number, span
from weft.model.validate.problem import DEVICE_LAW, Path, Problem, is_device, name_problem, suggestion


def router_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    for name, router in intent.routers.items():
        found += name_problem(("routers", name), "router", name)
        found += _gateways(router, intent)
        found += _overlaps(router, intent)
        found += _nodes(router, intent)
        found += _external(router)
        found += _static(router, intent)
        found += _hops(router, intent)
        found += _advertise(router, intent)
    return found


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
        spans = _spans(network.subnets)
        if not addresses:
            found.append(Problem(path, f"router '{router.name}': no gateway address in '{name}'", "write one"))
        for index, address in enumerate(addresses):
            value = _number(address)
            if value is None or not any(here.holds(value) for here in spans):
                what = f"router '{router.name}': gateway {address} is outside network '{name}'"
                found.append(Problem((*path, index), what, f"choose one of {', '.join(network.subnets)}"))
            elif not any(here.usable(value) for here in spans):
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
            held += [(here, subnet, name) for here in _spans([subnet])]
    outside = {
        str(ipaddress.ip_interface(side.address).network) for side in router.external if _interface(side.address)
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


def _external(router: Router) -> list[Problem]:
    found: list[Problem] = []
    for side in router.external:
        path: Path = ("routers", router.name, "external", side.node)
        if not is_device(side.interface):
            what = f"router '{router.name}': {side.interface!r} is not a device's name"
            found.append(Problem((*path, "interface"), what, f"Linux takes {DEVICE_LAW}"))
        if not _interface(side.address):
            what = f"router '{router.name}': '{side.address}' is not an address with prefix length"
            found.append(Problem((*path, "address"), what, "write it as 50.1.1.254/24"))
    return found


def _static(router: Router, intent: Intent) -> list[Problem]:
    """1:1 NAT: the inside address is in one of its networks, the outside one beside the router's own."""
    found: list[Problem] = []
    inside = _spans(
        subnet for name in router.gateways if name in intent.networks for subnet in intent.networks[name].subnets
    )
    for side in router.external if router.gateways else ():
        if not _interface(side.address):
            continue
        own = ipaddress.ip_interface(side.address)
        for within, without in side.static:
            path: Path = ("routers", router.name, "external", side.node, "static", within)
            subject = f"router '{router.name}'"
            value, outer = _number(within), _number(without)
            if value is None or not any(here.usable(value) for here in inside):
                found.append(Problem(path, f"{subject}: {within} is in none of its networks", "name an inside address"))
            elif outer is None or not span(str(own.network)).usable(outer) or without == str(own.ip):
                what = f"{subject}: {without} cannot stand for {within} on {side.address}"
                found.append(Problem(path, what, f"choose another address of {own.network}"))
    return found


def _targets(router: Router, reach: list[Span]) -> list[Problem]:
    """`reach`: its own subnets. One route for each destination, and none in place of a connected one."""
    found: list[Problem] = []
    for index, route in enumerate(router.routes):
        path: Path = ("routers", router.name, "routes", index, "to")
        if any(here in reach for here in _spans([route.to])):
            what = f"router '{router.name}': a route to {route.to}, a subnet of its own, would take its place"
            found.append(Problem(path, what, "remove the route, or make it narrower"))
        elif route.to in (other.to for other in router.routes[:index]):
            what = f"router '{router.name}': a second route to {route.to}"
            found.append(Problem(path, what, "name all next hops in one: via: [ADDRESS, ADDRESS]"))
    return found


def _hops(router: Router, intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    subnets = [
        subnet for name in router.gateways if name in intent.networks for subnet in intent.networks[name].subnets
    ]
    reach = _spans(subnets)
    reach += [
        span(str(ipaddress.ip_interface(side.address).network)) for side in router.external if _interface(side.address)
    ]
    own = {address for addresses in router.gateways.values() for address in addresses}
    lines: list[tuple[Path, tuple[str, ...], tuple[str, ...]]] = [
        (("routes", i), route.via, (route.to,)) for i, route in enumerate(router.routes)
    ]
    lines += [
        (("policies", i), policy.via, tuple(subnet for subnet in (policy.source, policy.to) if subnet))
        for i, policy in enumerate(router.policies)
    ]
    for where, via, matched in lines:
        path: Path = ("routers", router.name, *where)
        if not via:
            found.append(Problem(path, f"router '{router.name}': a route without next hop", "write via: ADDRESS"))
        for index, hop in enumerate(via):
            value = _number(hop)
            if hop in own:
                what, remedy = f"next hop {hop} is the router itself", "name the next one"
            elif value is None or not any(here.holds(value) for here in reach):
                what, remedy = f"next hop {hop} is in none of its subnets", "name one that a gateway's network holds"
            elif any(is_ipv6(subnet) != is_ipv6(hop) for subnet in matched):
                what, remedy = f"next hop {hop} and {matched[0]} are of two families", "keep to one"
            else:
                continue
            found.append(Problem((*path, "via", index), f"router '{router.name}': {what}", remedy))
    found += _targets(router, reach)
    found += _matches(router)
    return found


def _matches(router: Router) -> list[Problem]:
    found: list[Problem] = []
    for index, policy in enumerate(router.policies):
        path: Path = ("routers", router.name, "policies", index, "ports")
        if policy.ports and policy.protocol not in {"tcp", "udp"}:
            what = f"router '{router.name}': a policy on ports without a protocol that has them"
            found.append(Problem(path, what, "add protocol: tcp or udp"))
        for at, port in enumerate(policy.ports):
            if not 1 <= port <= 65535:
                what = f"router '{router.name}': port {port} does not exist"
                found.append(Problem((*path, at), what, "choose 1 to 65535"))
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


def _spans(subnets: Iterable[str]) -> list[Span]:
    """Those that are subnets at all: the others are told of where they are declared."""
    spans = []
    for subnet in subnets:
        try:
            spans.append(span(subnet))
        except ValueError:
            continue
    return spans


def _number(address: str) -> tuple[int, int] | None:
    try:
        return number(address)
    except ValueError:
        return None


def _interface(address: str) -> bool:
    try:
        ipaddress.ip_interface(address)
    except ValueError:
        return False
    return "/" in address
