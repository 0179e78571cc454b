"""Which devices in a host's own namespace are a router's. Pure.

One is if a router's port has put it there: it is one veth pair with the port's device, which bears the port's alias; an
alias on the device itself proves nothing. It is an IRB once it bears that alias too, under the name of its segment.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.model.network import SegmentKey
from weft.netlink.alias import DeviceKind, parse_alias
from weft.netlink.links import Link
from weft.plan.router import irb_device


def guests(links: list[Link], cluster: str) -> Iterator[tuple[str, Link]]:
    """(router, device) of the IRBs among all links of a host."""
    for router, link in plugged(links, cluster):
        alias = parse_alias(link.alias, cluster)
        if alias and alias.kind is DeviceKind.IRB:
            port, _, vni = alias.details.get("segment", "").partition("/")
            if port.isdecimal() and vni.isdecimal() and link.name == irb_device(SegmentKey(int(port), int(vni))):
                yield router, link


def plugged(links: list[Link], cluster: str) -> Iterator[tuple[str, Link]]:
    """(router, device) of all far ends of routers' ports."""
    by_index = {link.index: link for link in links}
    for near in links:
        alias = parse_alias(near.alias, cluster) if near.kind == "veth" else None
        if alias is None or alias.kind is not DeviceKind.PORT:
            continue
        router, slash, _ = alias.name.partition("/")
        far = by_index.get(near.lower)
        if slash and far and far.kind == "veth" and far.lower == near.index and far.name == alias.details["interface"]:
            yield router, far
