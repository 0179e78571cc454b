"""Who is where in a whole network, as arrays: what `weft.compile.endpoints` says of one MAC, said of all at once.

Most hosts are plain: declared, and seen nowhere; or seen by one node, and nobody else has their MAC or an address of
theirs. Their rows come straight from the columns. The others, MACs that are declared and seen, seen by several nodes,
or that share an address, are resolved one by one (`located`); so are all where a declaration is not unique or anything
is odd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weft.compile.columns import NO_MAC, Columns, Rows, column
from weft.compile.endpoints import Location, located, locations
from weft.compile.index import Words, all_folded
from weft.compile.world import World
from weft.model.address import canonical_ip, int_to_mac
from weft.model.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Hosts of a network, each MAC once: `macs` beside `nodes` (numbers of names); and for each address its words and
    the MAC that has it. `others`: hosts that were resolved one by one."""

    macs: Words
    nodes: Words
    high: Words
    low: Words
    owners: Words
    others: tuple[Location, ...] = ()


def places(world: World, network: Network) -> Places:
    """Every endpoint of the network, as `locations` says."""
    ports, seen = world.declarations, world.sightings
    if not world.declared(network.name).unique or seen.has_odd(network.key):
        none = np.empty(0, np.uint64)
        return Places(none, none, none, none, none, tuple(locations(world, network)))
    rows = ports.rows(network.name)
    rows = rows[column(ports.macs)[rows] != NO_MAC]
    if not seen.count(network.key):
        return Places(*_columns(ports, rows))
    macs = column(ports.macs)[rows]
    both = np.isin(macs, column(seen.macs)[seen.rows(network.key)])
    plain, contested = _sighted(world, network, macs)
    doubtful = [int_to_mac(mac) for mac in (*macs[both].tolist(), *contested.tolist())]
    mine, theirs = _columns(ports, rows[~both]), _columns(seen, plain)
    macs, nodes, high, low, owners = (np.concatenate(pair) for pair in zip(mine, theirs, strict=True))
    return Places(macs, nodes, high, low, owners, tuple(located(world, network, doubtful)))


def _sighted(world: World, network: Network, declared: Words) -> tuple[Rows, Words]:
    """Of what is seen and not declared: rows of plain hosts, MACs of others. Nodes that take no part say nothing."""
    seen = world.sightings
    members = [world.names.get(node) for node in world.declared(network.name).nodes if node in world.nodes]
    rows = seen.rows(network.key)
    rows = rows[np.isin(column(seen.nodes)[rows], np.array(members, np.int64))]
    macs = column(seen.macs)[rows]
    several = _repeated(macs)
    of, high, low = seen.addresses(rows)
    words = all_folded(high, low)
    several[of[_repeated(words) | np.isin(words, _claimed(world, network))]] = True
    several = np.isin(macs, macs[several])
    undeclared = ~np.isin(macs, declared)
    return rows[undeclared & ~several], np.unique(macs[undeclared & several])


def _repeated(words: Words) -> npt.NDArray[np.bool_]:
    """Which of them stand there more than once."""
    _, inverse, counts = np.unique(words, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1)


def _claimed(world: World, network: Network) -> Words:
    """Addresses that ports declare and gateways have, folded."""
    ports = world.declarations
    _, high, low = ports.addresses(ports.rows(network.name))
    found = filter(None, map(canonical_ip, world.declared(network.name).gateways))
    gateways = np.array([*found], np.uint64).reshape(-1, 2)
    return all_folded(np.concatenate((high, gateways[:, 0])), np.concatenate((low, gateways[:, 1])))


def _columns(hosts: Columns[Any, Any], rows: Rows) -> tuple[Words, Words, Words, Words, Words]:
    """As `Places` has them."""
    macs, nodes = column(hosts.macs)[rows], column(hosts.nodes)[rows].astype(np.uint64)
    of, high, low = hosts.addresses(rows)
    return macs, nodes, high, low, macs[of]
