"""Holding this node's lease: taken, kept, changed and taken again, all by one step that may be repeated at any time.

The step reads all leases, decides (`weft.peering.flannel.subnets`), and writes only what differs; where somebody else
was faster, it starts again. So a start, a renewal, a new address of the host and the loss of the lease are one thing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from weft.model.errors import Kind, WeftError
from weft.peering.flannel.backend import BackendData, External
from weft.peering.flannel.config import NetworkConfig
from weft.peering.flannel.lease import Lease
from weft.peering.flannel.registry import TTL, Listing, Registry
from weft.peering.flannel.subnets import Node, choose
from weft.store.store import LeaseLost

_ATTEMPTS = 100
_PAUSE = 0.02
"""Seconds, at most, that a node that lost a race waits at first."""


@dataclass(frozen=True, slots=True)
class Held:
    """`own`: the lease as it stands; `listing`: all, as they were before; `lasts`: seconds, None for a reservation."""

    own: Lease
    listing: Listing
    lasts: float | None
    told: str = ""

    @property
    def others(self) -> list[Lease]:
        return [lease for lease in self.listing.leases if lease.key != self.own.key]


async def hold(
    registry: Registry,
    config: NetworkConfig,
    node: Node,
    external: External,
    data: Callable[[Lease | None], BackendData],
    chance: random.Random,
    ttl: float = TTL,
) -> Held:
    """Raises REFUSED where no subnet is left, UNREACHABLE where etcd does not answer."""
    for attempt in range(_ATTEMPTS):
        listing = await registry.list()
        choice = choose(config, node, listing.leases, chance)
        await registry.give_back(choice.give_back)
        previous = choice.again or next(iter(choice.give_back), None)
        subnet, subnet6 = choice.subnets
        public = external.public or IPv4Address(0)
        wanted = Lease(subnet, subnet6, public, external.public6 if config.six else None, data(previous))
        there = choice.again
        own: Lease | None
        if there is None:
            own = await registry.create(wanted, ttl)
        elif there.says(wanted):
            own = there
        else:
            own = await registry.update(there, wanted, ttl)
        try:
            if own is not None:
                lasts = await registry.keep(own) if own.etcd_lease else None
                return Held(own, listing, lasts, _told(node, choice.taken_by, own))
        except LeaseLost:  # between two steps
            continue
        await asyncio.sleep(chance.uniform(0, min(_PAUSE * (attempt + 1), 1.0)))
    raise WeftError(
        Kind.CONFLICT, "other nodes were always faster to take a subnet", where=registry.url, remedy="start it again"
    )


def _told(node: Node, holder: Lease | None, own: Lease) -> str:
    if holder is None:
        return ""
    had = " ".join(str(subnet) for subnet in node.previous if subnet)
    return (
        f"subnet {had} of the subnet file is {'reserved for' if holder.reserved else 'leased to'} {holder.public_ip}; "
        f"{own} was taken, restart the containers' bridge with the new subnet file"
    )
