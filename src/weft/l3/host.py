"""What a router in its host's own network stack may not take: routes and addresses of others in its subnets.

A route of others within a subnet leads its hosts elsewhere, an address of others answers for one of them, and a route
to the same place would be replaced or outbid. So they are refused before anything is put, told by device: what others
do later, they do knowingly, and it is left alone.
"""

from __future__ import annotations

import ipaddress

from weft.l3.inside import Inside
from weft.model.errors import Kind, WeftError
from weft.plan.port import LocalPort


def strangers(inside: Inside, devices: set[int]) -> set[str]:
    """Destinations of IPv4 routes by other devices than these, in every table, and addresses on other devices."""
    found = {route.to for route in inside.routing.all_ipv4() if not _only(route.hops, devices)}
    for index, texts in inside.addresses.dump().items():
        if index not in devices:
            found |= {f"{text.partition('/')[0]}/32" for text in texts if ":" not in text}
    return found


def _only(hops: tuple[tuple[str, int], ...], devices: set[int]) -> bool:
    return bool(hops) and all(index in devices for _, index in hops)


def in_the_way(inside: Inside, devices: set[int], port: LocalPort) -> WeftError | None:
    """Why an IRB's device cannot stand here, if so. `devices`: the router's."""
    subnets = [ipaddress.IPv4Interface(text).network for text in port.addresses]  # IPv6 is refused before
    for text in sorted(strangers(inside, devices)):
        other = ipaddress.IPv4Network(text)
        for subnet in subnets:
            if other.subnet_of(subnet):
                what = f"the host has {text}, which lies in its subnet {subnet}"
                remedy = "take it from the host, choose another subnet, or remove `namespace: host`"
                return WeftError(Kind.FAILED, what, where=f"port {port.name}", remedy=remedy)
    return None
