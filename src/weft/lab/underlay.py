"""Addresses of the underlay: the segments that VTEP addresses imply, and what its routers are called on each. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from weft.model.errors import Kind, WeftError
from weft.model.lab import UnderlayRouter, UnderlaySegment

_LONGEST = {4: 24, 6: 64}


def derived_segments(vteps: Iterable[str]) -> tuple[UnderlaySegment, ...]:
    """One flat segment for all VTEPs of a family: the smallest subnet that holds them, at least a /24 (IPv6: /64).

    Grows further while a VTEP would have the subnet's own address or its broadcast address.
    """
    addresses = sorted({ipaddress.ip_address(vtep) for vtep in vteps}, key=lambda a: (a.version, int(a)))
    segments: list[UnderlaySegment] = []
    for version in (4, 6):
        family = [address for address in addresses if address.version == version]
        if family:
            name = "underlay" if not segments else "underlay6"
            segments.append(UnderlaySegment(name=name, subnet=str(_around(family, version))))
    return tuple(segments)


def _around(
    addresses: Sequence[ipaddress.IPv4Address | ipaddress.IPv6Address], version: int
) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    subnet = ipaddress.ip_network((int(addresses[0]).to_bytes(4 if version == 4 else 16), _LONGEST[version]), False)
    while any(a not in subnet or a in (subnet[0], subnet[-1]) for a in addresses) and subnet.prefixlen:
        subnet = subnet.supernet()
    return subnet


def overlapping(segments: Sequence[UnderlaySegment]) -> None:
    """Raises INVALID where two segments share addresses: a host could not tell which one it is on."""
    nets = [(segment.name, ipaddress.ip_network(segment.subnet)) for segment in segments]
    for position, (name, net) in enumerate(nets):
        for other, other_net in nets[:position]:
            if net.version == other_net.version and net.overlaps(other_net):
                raise WeftError(
                    Kind.INVALID,
                    f"{net} overlaps {other_net} of segment {other}",
                    where=f"underlay segment {name}",
                    remedy="give each segment a subnet of its own",
                )


def router_addresses(
    segments: Sequence[UnderlaySegment], routers: Sequence[UnderlayRouter], vteps: set[str]
) -> dict[str, dict[str, str]]:
    """Segment → router → address: the first router declared on a segment has its last host address, and so on down.

    In IPv6 too the subnet's very last address is left alone, so that both families read alike.
    """
    taken: dict[str, dict[str, str]] = {}
    for segment in segments:
        subnet = ipaddress.ip_network(segment.subnet)
        names = [router.name for router in routers if segment.name in router.segments]
        if len(names) + 2 > subnet.num_addresses:
            raise WeftError(Kind.INVALID, f"{subnet} has no room for its routers", where=f"segment {segment.name}")
        taken[segment.name] = {name: str(subnet[-2 - place]) for place, name in enumerate(names)}
        for name, address in taken[segment.name].items():
            if address in vteps:
                raise WeftError(
                    Kind.INVALID,
                    f"{address} is a VTEP's address and the address of underlay router {name}",
                    where=f"segment {segment.name}",
                    remedy="routers have the last host addresses of a segment: move the VTEP",
                )
    return taken
