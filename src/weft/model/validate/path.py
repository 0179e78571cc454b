"""Checks of a router's routes and policies: destinations that can be routed, next hops within reach."""

from __future__ import annotations

import ipaddress

from weft.model.address import is_ipv6
from weft.model.intent import Intent
from weft.model.router import Router
from weft.model.subnet import Span, span
from weft.model.validate.lenient import as_number, is_interface, spans
from weft.model.validate.problem import Path, Problem

_FAMILY = {"icmp": 4, "icmpv6": 6}  # of the protocols that only one of them has


def path_problems(router: Router, intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    subnets = [
        subnet for name in router.gateways if name in intent.networks for subnet in intent.networks[name].subnets
    ]
    reach = spans(subnets)
    reach += [
        span(str(ipaddress.ip_interface(side.address).network))
        for side in router.external
        if is_interface(side.address)
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
            value = as_number(hop)
            if hop in own:
                what, remedy = f"next hop {hop} is the router itself", "name the next one"
            elif value is None or not any(here.holds(value) for here in reach):
                what, remedy = f"next hop {hop} is in none of its subnets", "name one that a gateway's network holds"
            elif any(is_ipv6(subnet) != is_ipv6(hop) for subnet in matched):
                what, remedy = f"next hop {hop} and {matched[0]} are of two families", "keep to one"
            elif hop in via[:index]:
                what, remedy = f"next hop {hop} stands twice", "remove one: traffic is shared evenly"
            else:
                continue
            found.append(Problem((*path, "via", index), f"router '{router.name}': {what}", remedy))
    found += _targets(router, reach)
    found += _matches(router)
    return found


def _targets(router: Router, reach: list[Span]) -> list[Problem]:
    """`reach`: its own subnets. One route for each destination, and none in place of a connected one."""
    found: list[Problem] = []
    for index, route in enumerate(router.routes):
        path: Path = ("routers", router.name, "routes", index, "to")
        if kind := _unrouted(route.to):
            what = f"router '{router.name}': {route.to} is {kind}: no unicast route leads there"
            found.append(Problem(path, what, "remove the route"))
        elif any(here in reach for here in spans([route.to])):
            what = f"router '{router.name}': a route to {route.to}, a subnet of its own, would take its place"
            found.append(Problem(path, what, "remove the route, or make it narrower"))
        elif route.to in (other.to for other in router.routes[:index]):
            what = f"router '{router.name}': a second route to {route.to}"
            found.append(Problem(path, what, "name all next hops in one: via: [ADDRESS, ADDRESS]"))
    return found


def _unrouted(subnet: str) -> str:
    """What it is, if all of it is multicast, loopback or link-local."""
    try:
        here = ipaddress.ip_network(subnet)
    except ValueError:
        return ""
    kinds = {"multicast": here.is_multicast, "loopback": here.is_loopback, "link-local": here.is_link_local}
    return next((kind for kind, is_kind in kinds.items() if is_kind), "")


def _matches(router: Router) -> list[Problem]:
    found: list[Problem] = []
    for index, policy in enumerate(router.policies):
        path: Path = ("routers", router.name, "policies", index, "ports")
        if policy.ports and policy.protocol not in {"tcp", "udp"}:
            what = f"router '{router.name}': a policy on ports without a protocol that has them"
            found.append(Problem(path, what, "add protocol: tcp or udp"))
        family = _FAMILY.get(policy.protocol or "")
        if family and any(is_ipv6(hop) != (family == 6) for hop in policy.via):
            what = f"router '{router.name}': {policy.protocol} by a next hop of IPv{10 - family}"
            remedy = f"use protocol: {'icmpv6' if family == 4 else 'icmp'}, or a next hop of IPv{family}"
            found.append(Problem(("routers", router.name, "policies", index, "protocol"), what, remedy))
        for at, port in enumerate(policy.ports):
            if not 1 <= port <= 65535:
                what = f"router '{router.name}': port {port} does not exist"
                found.append(Problem((*path, at), what, "choose 1 to 65535"))
    return found
