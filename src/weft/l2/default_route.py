"""Default routes of an end point in a namespace: ours by protocol number and metric, next hops as the port is told.

The metric is the device's own index above `METRIC`, so that two ports in one namespace get along.
"""

from __future__ import annotations

from weft.model.address import is_ipv6
from weft.netlink.links import Link
from weft.netlink.route import METRIC, KernelRoute
from weft.netlink.routing import Routing
from weft.plan.port import LocalPort


def put(routing: Routing, port: LocalPort, device: Link) -> None:
    """Exactly the port's gateways by this device. Raises WeftError."""
    there = found(routing.routes()).get(device.index, ())
    for gateway in there:
        if gateway not in port.gateways:
            routing.drop_route(_route(gateway, device))
    for gateway in port.gateways:
        if gateway not in there:
            routing.put_route(_route(gateway, device))


def found(routes: list[KernelRoute]) -> dict[int, tuple[str, ...]]:
    """Device's index → next hops of our default routes by it, IPv4 first."""
    told: dict[int, tuple[str, ...]] = {}
    for route in routes:
        for via, index in route.hops if route.to in ("0.0.0.0/0", "::/0") else ():
            if route.metric != METRIC + index:  # a router's own
                continue
            told[index] = (*told.get(index, ()), via)
    return told


def _route(gateway: str, device: Link) -> KernelRoute:
    to = "::/0" if is_ipv6(gateway) else "0.0.0.0/0"
    return KernelRoute(to, ((gateway, device.index),), metric=METRIC + device.index)
