"""Addresses of intent as numbers, where they are addresses at all: what is none is told of where it is declared."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from weft.model.subnet import Span, number, span


def spans(subnets: Iterable[str]) -> list[Span]:
    """Those that are subnets."""
    found = []
    for subnet in subnets:
        try:
            found.append(span(subnet))
        except ValueError:
            continue
    return found


def as_number(address: str) -> tuple[int, int] | None:
    try:
        return number(address)
    except ValueError:
        return None


def is_interface(address: str) -> bool:
    """Whether it is an address with a prefix length."""
    try:
        ipaddress.ip_interface(address)
    except ValueError:
        return False
    return "/" in address
