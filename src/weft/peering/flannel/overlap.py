"""A network that takes in the one its packets are to travel by: a lease would cut this node off. Pure.

flannel's daemon does not look. A network around the underlay is allowed where subnets come from elsewhere in it
(SubnetMin, SubnetMax), and so is one inside of a larger underlay, whose routes are more specific.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_interface

from weft.model.errors import Kind, WeftError
from weft.peering.flannel.backend import External
from weft.peering.flannel.config import NetworkConfig


def refuse_overlap(config: NetworkConfig, external: External, addresses: Iterable[str]) -> None:
    """`addresses`: of the underlay's device, with prefix lengths. Raises REFUSED."""
    for own in map(ip_interface, addresses):
        pool = config.four if own.version == 4 else config.six
        if pool is None or own.ip not in pool.network or own.ip not in (external.address, external.address6):
            continue
        below = own.network
        end = int(pool.last) + (1 << (own.max_prefixlen - pool.length))
        if int(pool.first) <= int(below.broadcast_address) and int(below.network_address) < end:
            named = "Network" if own.version == 4 else "IPv6Network"
            raise WeftError(
                Kind.REFUSED,
                f"{named} {pool.network} has subnets in {below}, by which {external.name} ({own.ip}) reaches others",
                where="flannel's network configuration",
                remedy="use another network, or a SubnetMin and SubnetMax that leave it out; or give another -iface",
            )
