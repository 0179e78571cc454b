"""Which subnets a node takes, by flannel's rules; which of its own old leases it knows again. Pure.

1. A lease that is known to be ours (we wrote it before: it hangs on our etcd lease) or that says our public address is
   taken again, as long as it fits the configuration; one that does not fit is given back.
2. Else the subnets that this node had before, as far as they fit and nobody has them: those of the lease that was
   given back, then those of the subnet file.
3. Else one of the first hundred free ones, at random, so that nodes that start together seldom meet.

Every key below subnets/ takes its subnet, whatever its value, and one without a TTL takes it for good: a reservation.
Source: observed, and flannel's pkg/subnet/etcd/local_manager.go.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from weft.model.errors import Kind, WeftError
from weft.peering.flannel.config import NetworkConfig, Pool
from weft.peering.flannel.lease import Lease

Network = IPv4Network | IPv6Network
Subnets = tuple[IPv4Network | None, IPv6Network | None]

CANDIDATES = 100
"""Free subnets that the random choice is among."""


@dataclass(frozen=True, slots=True)
class Node:
    """What a node knows of itself: its public addresses, its subnets by the subnet file, its last etcd lease or 0."""

    public: IPv4Address | None
    public6: IPv6Address | None = None
    previous: Subnets = (None, None)
    etcd_lease: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """`again`: the lease that stands already and is taken over, else `subnets` are free to create. `give_back`: leases
    of ours that fit the configuration no more. `taken_by`: who has the subnet that this node had before."""

    subnets: Subnets
    again: Lease | None = None
    give_back: tuple[Lease, ...] = ()
    taken_by: Lease | None = None


def choose(config: NetworkConfig, node: Node, leases: Sequence[Lease], chance: random.Random) -> Choice:
    """Raises REFUSED where no subnet is left."""
    mine = [lease for lease in leases if is_ours(lease, node)]
    fitting = [lease for lease in mine if fits(config, lease)]
    if fitting:
        again = min(fitting, key=lambda lease: _rank(lease, node))
        return Choice((again.subnet, again.subnet6), again)
    back = tuple(lease for lease in mine if not lease.reserved)
    others = [lease for lease in leases if lease not in back]
    had = [*((lease.subnet, lease.subnet6) for lease in back), node.previous]
    subnets = (
        _pick(config.four, [four for four, _ in had], [lease.subnet for lease in others], others, chance),
        _pick(config.six, [six for _, six in had], [lease.subnet6 for lease in others], others, chance),
    )
    return Choice(subnets, None, back, _holder(node.previous, subnets, others))  # type: ignore[arg-type]  # by family


def is_ours(lease: Lease, node: Node) -> bool:
    if lease.etcd_lease and lease.etcd_lease == node.etcd_lease:
        return True
    if node.public is not None:
        return lease.public_ip == node.public
    return lease.public_ip6 is not None and lease.public_ip6 == node.public6


def fits(config: NetworkConfig, lease: Lease) -> bool:
    """Whether a node may keep this lease under the configuration."""
    four = config.four.fits(lease.subnet) if config.four else lease.subnet is None
    six = config.six.fits(lease.subnet6) if config.six else lease.subnet6 is None
    return four and six


def _rank(lease: Lease, node: Node) -> tuple[bool, bool, str]:
    """Of several leases that are ours: the one we wrote, the one of the subnet file, the first by name."""
    known = lease.etcd_lease != 0 and lease.etcd_lease == node.etcd_lease
    return not known, (lease.subnet, lease.subnet6) != node.previous, lease.key


def _pick(
    pool: Pool | None, had: Iterable[Network | None], taken: Iterable[Network | None], others: Sequence[Lease],
    chance: random.Random,
) -> Network | None:  # fmt: skip
    if pool is None:
        return None
    used = _Used(subnet for subnet in taken if subnet)
    for subnet in had:
        if subnet is not None and pool.fits(subnet) and subnet not in used:
            return subnet
    free = _free(pool, used)
    if not free:
        reserved = sum(lease.reserved for lease in others)
        raise WeftError(
            Kind.REFUSED,
            f"no subnet of length {pool.length} is left from {pool.first} to {pool.last}, "
            f"there are {len(others)} leases, {reserved} of them reservations",
            where=f"flannel's network {pool.network}",
            remedy="raise SubnetMax or enlarge the network in <prefix>/config, or delete leases of nodes that are gone",
        )
    return chance.choice(free)


def _free(pool: Pool, used: _Used) -> list[Network]:
    size = 1 << (pool.first.max_prefixlen - pool.length)
    found: list[Network] = []
    at = int(pool.first)
    while at <= int(pool.last) and len(found) < CANDIDATES:
        if (end := used.end_over(at, at + size)) is None:
            found.append(type(pool.network)((at, pool.length)))
            at += size
        else:
            at = max(at + size, -(-end // size) * size)
    return found


def _holder(previous: Subnets, subnets: tuple[Network | None, Network | None], others: Sequence[Lease]) -> Lease | None:
    for had, has, place in zip(previous, subnets, ("subnet", "subnet6"), strict=True):
        for lease in others if had is not None and has is not None and had != has else ():
            theirs: Network | None = getattr(lease, place)
            if theirs is not None and theirs.overlaps(had):  # type: ignore[arg-type]  # of one family
                return lease
    return None


class _Used:
    """Address ranges that are taken, merged and sorted."""

    def __init__(self, subnets: Iterable[Network]) -> None:
        spans = sorted((int(subnet[0]), int(subnet[-1]) + 1) for subnet in subnets)
        self._first: list[int] = []
        self._end: list[int] = []
        for first, end in spans:
            if self._end and first <= self._end[-1]:
                self._end[-1] = max(self._end[-1], end)
            else:
                self._first.append(first)
                self._end.append(end)

    def end_over(self, first: int, end: int) -> int | None:
        """Where the range ends that is taken of first…end; None where all of it is free."""
        at = bisect_right(self._first, end - 1) - 1
        return self._end[at] if at >= 0 and self._end[at] > first else None

    def __contains__(self, subnet: Network) -> bool:
        return self.end_over(int(subnet[0]), int(subnet[-1]) + 1) is not None
