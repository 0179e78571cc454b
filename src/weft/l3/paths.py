"""Routes and rules of a router, beside its host routes: all of one router put at once, read back as plan values.

The routes to the subnets of its addresses are the kernel's, which makes them with the addresses and never again: those
that somebody has taken are put as the kernel had them.
"""

from __future__ import annotations

import ipaddress

from weft.l3.host import strangers
from weft.l3.inside import Inside, RouterHost
from weft.model.address import is_ipv6
from weft.model.errors import Kind, WeftError
from weft.model.subnet import number
from weft.netlink.links import Link
from weft.netlink.route import KERNEL, METRIC, KernelRoute
from weft.plan.router import Hop, Route, Router, Rule, connected

_METRIC_IPV6 = 256  # net/ipv6/addrconf.c, IP6_RT_PRIO_ADDRCONF


def put(host: RouterHost, router: Router) -> None:
    """New routes, then rules that may lead to them; then what is not wanted, the other way round. Raises WeftError."""
    inside = host.inside(router.name)
    links = host.devices(inside)
    indexes = {link.name: link.index for link in links}
    routes, rules = read(inside, links)
    for route in lost(inside, router, links):
        inside.routing.put_route(_connected(inside, route, indexes))
    for route in router.routes:
        if route not in routes:
            if inside.host and route.to in strangers(inside, set(indexes.values())):
                what = f"the host has a route to {route.to} already, which is not weft's"
                raise WeftError(Kind.FAILED, what, where=f"router {router.name}", remedy="remove one of the two")
            inside.routing.put_route(_kernel(router, route, indexes))
    for rule in router.rules:
        if rule not in rules:
            inside.routing.put_rule(rule)
    for rule in rules:
        if rule not in router.rules:
            inside.routing.drop_rule(rule)
    wanted = {(route.to, route.table) for route in router.routes}
    for route in routes:
        if (route.to, route.table) not in wanted:
            inside.routing.drop_route(KernelRoute(route.to, (), route.table))


def _kernel(router: Router, route: Route, indexes: dict[str, int]) -> KernelRoute:
    for hop in route.hops:
        if hop.device not in indexes:
            what = f"the route to {route.to} leads by {hop.device}, which is missing"
            raise WeftError(Kind.FAILED, what, where=f"router {router.name}")
    return KernelRoute(route.to, tuple((hop.via, indexes[hop.device]) for hop in route.hops), route.table, route.source)


def _connected(inside: Inside, route: Route, indexes: dict[str, int]) -> KernelRoute:
    """IPv4 says with it which address it came with."""
    index = indexes[route.hops[0].device]
    if is_ipv6(route.to):
        return KernelRoute(route.to, (("", index),), metric=_METRIC_IPV6, protocol=KERNEL)
    there = map(ipaddress.ip_interface, inside.addresses.dump(index).get(index, ()))
    source = next((str(each.ip) for each in there if str(each.network) == route.to), "")
    return KernelRoute(route.to, (("", index),), source=source, metric=0, protocol=KERNEL)


def lost(inside: Inside, router: Router, links: list[Link]) -> tuple[Route, ...]:
    """Routes that came with addresses of the router and are not there; none by devices that are down."""
    up = {link.name: link.index for link in links if link.up}
    there = inside.routing.connected()
    wanted = [(route, up.get(route.hops[0].device)) for route in connected(router)]
    return tuple(route for route, index in wanted if index is not None and (route.to, index) not in there)


def read(inside: Inside, links: list[Link]) -> tuple[tuple[Route, ...], tuple[Rule, ...]]:
    """Routes and rules of ours, sorted as plans have them; in the host's own namespace routes by our devices alone."""
    names = {link.index: link.name for link in links}
    there = [found for found in inside.routing.routes() if found.metric == METRIC]
    if inside.host:
        there = [found for found in there if found.hops and all(index in names for _, index in found.hops)]
    routes = [_route(found, names) for found in there]
    if inside.host:
        return tuple(sorted(routes, key=lambda route: (route.table, route.to))), ()
    rules = sorted(inside.routing.rules(), key=lambda rule: (rule.priority, str(rule)))
    return tuple(sorted(routes, key=lambda route: (route.table, route.to))), tuple(rules)


def _route(found: KernelRoute, names: dict[int, str]) -> Route:
    hops = [Hop(via, names.get(index, "")) for via, index in found.hops]
    if len(hops) > 1:
        hops.sort(key=lambda hop: number(hop.via) if hop.via else (0, 0))
    return Route(found.to, tuple(hops), found.table, found.source)
