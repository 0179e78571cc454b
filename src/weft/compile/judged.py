"""A few ports instead of all, to judge a world by: where these have no problem, nobody has.

What is wrong with a port is wrong with it alone (its name, where it is attached), or with two that share what one can
have (a MAC, an address, a place, a name), or with what stands on a node in a network. The first is looked at when a
port comes (`Ports.special`), the second in whole columns, and for the third one port of each network, node and kind
says as much as all of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weft.compile.columns import NO_MAC, Rows, column
from weft.compile.index import Words, all_folded
from weft.compile.world import World
from weft.model.address import ip_to_words
from weft.model.intent import Intent
from weft.model.network import Network
from weft.model.subnet import Span, span

_V4 = np.uint64(0xFFFF << 32)
_LOW = np.uint64(0xFFFFFFFF)
_MULTICAST = np.uint64(1 << 40)  # in the first octet of a MAC


def few(world: World) -> Intent | None:
    """An intent with problems if and only if the world's whole intent has some; None where only that one can tell."""
    ports = world.declarations
    outside = ((side.node, "device", side.interface) for router in world.routers.values() for side in router.external)
    if ports.odd or ports.clash() or any(map(ports.taken, outside)):
        return None
    for name in ports.filled():
        network = world.networks.get(name)
        if network is None or not world.declared(name).unique or not _fit(world, network, ports.rows(name)):
            return None
    rows = ports.alive()
    nodes = {ports.names.things[number] for number in np.unique(column(ports.nodes)[rows]).tolist()}
    if not nodes <= world.nodes.keys():
        return None
    kinds = column(ports.groups)[rows].astype(np.uint64) << np.uint64(40)
    kinds |= column(ports.nodes)[rows].astype(np.uint64) << np.uint64(8) | column(ports.kinds)[rows]
    _, first = np.unique(kinds, return_index=True)
    chosen = map(ports.at, sorted({*rows[first].tolist(), *ports.special}))
    return Intent(world.nodes, world.networks, world.routers, {port.name: port for port in chosen})


def _fit(world: World, network: Network, rows: Rows) -> bool:
    """Whether MACs and addresses are those of hosts of the network, and none is a gateway's."""
    ports = world.declarations
    macs = column(ports.macs)[rows]
    if np.any(((macs & _MULTICAST) != 0) & (macs != NO_MAC) | (macs == 0)):
        return False
    _, high, low = ports.addresses(rows)
    try:
        spans = [span(subnet) for subnet in network.subnets]
        gateways = [ip_to_words(ip) for ip in world.declared(network.name).gateways]
    except ValueError:
        return False
    usable = np.zeros(len(high), bool)
    for here in spans:
        usable |= _usable(here, high, low)
    theirs = np.array(gateways, np.uint64).reshape(-1, 2)
    return bool(usable.all() and not np.isin(all_folded(high, low), all_folded(theirs[:, 0], theirs[:, 1])).any())


def _usable(here: Span, high: Words, low: Words) -> npt.NDArray[np.bool_]:
    mapped = (high == 0) & (low & ~_LOW == _V4)
    if here.version == 4:
        return np.asarray(mapped & (low & _LOW >= here.first) & (low & _LOW <= here.last))
    first, last = divmod(here.first, 1 << 64), divmod(here.last, 1 << 64)
    above = (high > first[0]) | ((high == first[0]) & (low >= first[1]))
    below = (high < last[0]) | ((high == last[0]) & (low <= last[1]))
    return np.asarray(~mapped & above & below)
