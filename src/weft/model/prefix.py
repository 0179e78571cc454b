"""Prefixes for the nodes of routed networks that name none: the lowest free ones of the pool, kept once given.

A node keeps what it was assigned as long as it takes part and the prefix fits the network. A prefix that people write
never takes another node's: whoever has one has containers in it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator

import msgspec

from weft.model.errors import Kind, WeftError, WeftErrors
from weft.model.intent import Intent
from weft.model.network import Network, Routed
from weft.model.subnet import Span, span, text

Where = Callable[[tuple[str | int, ...]], str]
"""The place in a file of a path such as ("networks", "pods", "routed"), for errors."""


def participants(network: Network, nodes: Iterable[str]) -> list[str]:
    """The nodes of a routed network, by name, of all that are declared."""
    told = network.routed.nodes if network.routed else ()
    return sorted(set(told) & set(nodes) if told else nodes)


def fits(prefix: str, network: Network, routed: Routed) -> bool:
    """Whether this is one of the prefixes that the network has for its nodes."""
    try:
        here, pool = span(prefix), span(network.subnets[0])
    except ValueError:
        return False
    canonical = f"{text(here.version, here.low)}/{routed.prefix_length}"
    return here.version == pool.version and pool.low <= here.low <= here.high <= pool.high and prefix == canonical


def size(pool: Span, routed: Routed) -> int:
    """The addresses of one node's prefix."""
    return 1 << ((32 if pool.version == 4 else 128) - routed.prefix_length)


def assign_prefixes(intent: Intent, stored: Intent, where: Where = lambda path: "") -> Intent:
    """`intent` (all of it, valid by `problems`) with a prefix for every node of its routed networks.

    Raises WeftErrors (INVALID) where a written prefix is another node's that `stored` has assigned.
    """
    if not any(network.routed for network in intent.networks.values()):
        return intent
    errors: list[WeftError] = []
    done = {
        name: _assigned(network, intent, stored, where, errors)
        for name, network in intent.networks.items()
        if network.routed
    }
    if errors:
        raise WeftErrors(errors)
    return Intent(intent.nodes, intent.networks | done, intent.routers, intent.ports)


def _assigned(network: Network, intent: Intent, stored: Intent, where: Where, errors: list[WeftError]) -> Network:
    routed, before = network.routed, stored.networks.get(network.name)
    assert routed is not None
    names = participants(network, intent.nodes)
    given = {node: routed.prefixes[node] for node in names if node in routed.prefixes and node not in routed.assigned}
    owners = {prefix: node for node, prefix in given.items()}
    had = before.routed.prefixes if before and before.routed else {}
    wanting = [node for node in names if node not in given]
    for node in wanting:
        prefix = had.get(node, "")
        if not fits(prefix, network, routed):
            continue
        if thief := owners.get(prefix):
            path: tuple[str | int, ...] = ("networks", network.name, "routed", "prefixes", thief)
            what = f"network '{network.name}': {prefix} is what node '{node}' was assigned before"
            remedy = f"choose another for '{thief}', or write one for '{node}' too"
            errors.append(WeftError(Kind.INVALID, what, where=where(path), remedy=remedy))
        given[node], owners[prefix] = prefix, node
    free = _free(network, routed, owners)
    given |= {node: next(free) for node in wanting if node not in given}
    told = msgspec.structs.replace(routed, prefixes=dict(sorted(given.items())), assigned=tuple(wanting))
    return msgspec.structs.replace(network, routed=told)


def _free(network: Network, routed: Routed, taken: Container[str]) -> Iterator[str]:
    """Prefixes that nobody has, lowest first. `problems` has found that there are enough."""
    pool = span(network.subnets[0])
    for low in range(pool.low, pool.high + 1, size(pool, routed)):
        prefix = f"{text(pool.version, low)}/{routed.prefix_length}"
        if prefix not in taken:
            yield prefix
