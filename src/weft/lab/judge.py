"""Judges of a capture: `in_order`, `seen`, `never`, `only`. Each gives None, or what was wrong. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from weft.lab.names import Names
from weft.lab.patterns import Pattern, match, text
from weft.wire.describe import describe
from weft.wire.packet import Packet

_SHOWN = 20


def in_order(patterns: Sequence[Pattern], packets: Sequence[Packet], names: Names) -> str | None:
    """Each pattern must match a packet after the one that the pattern before it matched; others may stand between."""
    start = 0
    for number, pattern in enumerate(patterns, 1):
        found = next((at for at in range(start, len(packets)) if match(pattern, packets[at], names)), None)
        if found is None:
            after = f" after packet {start}" if start else ""
            earlier = [at for at in range(start) if match(pattern, packets[at], names)]
            hint = f" (packet {earlier[-1] + 1} is one, but too early)" if earlier else ""
            return f"pattern {number} of {len(patterns)} was not seen{after}: {text(pattern)}{hint}\n{listing(packets)}"
        start = found + 1
    return None


def seen(patterns: Sequence[Pattern], packets: Sequence[Packet], names: Names) -> str | None:
    """Each pattern must match some packet, in any order."""
    for pattern in patterns:
        if not any(match(pattern, packet, names) for packet in packets):
            return f"was not seen: {text(pattern)}\n{listing(packets)}"
    return None


def never(patterns: Sequence[Pattern], packets: Sequence[Packet], names: Names) -> str | None:
    """No pattern may match any packet."""
    for pattern in patterns:
        for number, packet in enumerate(packets, 1):
            if match(pattern, packet, names):
                return f"packet {number} must never be seen, by {text(pattern)}: {describe(packet)}"
    return None


def only(patterns: Sequence[Pattern], packets: Sequence[Packet], names: Names) -> str | None:
    """Every VXLAN packet must match some pattern; no patterns judge nothing."""
    if not patterns:
        return None
    for number, packet in enumerate(packets, 1):
        if packet.vxlan and not any(match(pattern, packet, names) for pattern in patterns):
            return f"packet {number} matches none of the patterns that alone are allowed: {describe(packet)}"
    return None


def listing(packets: Sequence[Packet]) -> str:
    """The packets, a line each; of many, the last."""
    if not packets:
        return "  nothing was seen at all"
    first = max(0, len(packets) - _SHOWN)
    lines = [f"  … {first} packets before"] if first else []
    lines += [f"  {number} {describe(packet)}" for number, packet in enumerate(packets[first:], first + 1)]
    return "\n".join(lines)
