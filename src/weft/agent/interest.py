"""What of the store a node has to know: the definitions of all, but ports and endpoints of its own networks only.

A node takes part in the networks in which it has ports (`weft.store.records.Attached` says which), and in those of
routers that are placed on it or have an outside there. What routers join with these it has to know too: over an
asymmetric IRB it is a member of all networks of the router, over a symmetric one it has a host route for every endpoint
of theirs, and where a distributed gateway stands follows from the ports of all its networks. So the interest is what
`World.neighbors_of` says one change can reach; compile reads nothing beyond (a property test says so).

Definitions of networks, routers and nodes, and facts, are followed whole: the interest is made of them, and they do not
grow in number with ports. Where the index of attached networks cannot be relied on (no apply has made it, an older weft
has applied since, its record is broken), everything is followed, as if every network were the node's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.compile.world import reached
from weft.model.errors import WeftError
from weft.model.network import Network, SegmentKey
from weft.model.router import Router
from weft.store.intent import APPLYING, INDEXED, decode_object
from weft.store.records import Attached, Keys, decode
from weft.store.store import Change, Exactly, Item, Prefix, Put


class Interest:
    """One node's interest, by what the store has told so far. `whole`: everything."""

    def __init__(self, keys: Keys, node: str) -> None:
        self._keys, self._node = keys, node
        self._own = keys.attached + node
        self._indexed = False
        self._attached: frozenset[str] | None = frozenset()  # None: the record cannot be read
        self._networks: dict[str, SegmentKey] = {}
        self._routers: dict[str, Router] = {}

    @property
    def whole(self) -> bool:
        return not self._indexed or self._attached is None

    def take(self, told: Iterable[Change | Item]) -> bool:
        """What the store says; whether that may make another interest of it."""
        changed = False
        for each in told:
            changed |= self._take(each.key, each.value)
        return changed

    def _take(self, key: str, value: bytes | None) -> bool:
        if key == self._keys.guard:
            # What is being applied is told from when it is done; until then the index stands as it stood.
            self._indexed = value == INDEXED or (value == APPLYING and self._indexed)
        elif key == self._own:
            self._attached = _attached(key, value)
        elif key.startswith((self._keys.of_kind("networks"), self._keys.of_kind("routers"))):
            self._define(key, value)
        else:
            return False
        return True

    def _define(self, key: str, value: bytes | None) -> None:
        kind, name, _ = self._keys.kind_and_name(key)
        things: dict[str, SegmentKey] | dict[str, Router] = self._networks if kind == "networks" else self._routers
        if value is None:
            things.pop(name, None)
            return
        try:
            thing = decode_object(self._keys, Put(key, value))[1]
        except WeftError:
            return  # what it was stands, as in the world
        if isinstance(thing, Network):
            self._networks[name] = thing.key
        elif isinstance(thing, Router):
            self._routers[name] = thing

    @property
    def networks(self) -> frozenset[str]:
        """The networks to know; where `whole`, those of definitions alone."""
        mine = set(self._attached or ())
        for router in self._routers.values():
            if self._node in router.placement or any(side.node == self._node for side in router.external):
                mine |= router.gateways.keys()
        return frozenset(reached(mine, self._routers.values()))

    def prefixes(self) -> frozenset[Prefix]:
        """What to read and to watch."""
        keys = self._keys
        if self.whole:
            # The guard's key begins those of all intent.
            return frozenset((keys.guard, keys.facts, keys.endpoints, Exactly(self._own)))
        base = (keys.of_kind(kind) for kind in ("nodes", "networks", "routers"))
        return frozenset((Exactly(keys.guard), *base, keys.facts, Exactly(self._own), *self._of_networks()))

    def _of_networks(self) -> Iterator[str]:
        for name in self.networks:
            yield self._keys.ports_of(name)
            if name in self._networks:
                yield self._keys.endpoints_of(self._networks[name])


def first_prefixes(keys: Keys, node: str) -> frozenset[Prefix]:
    """What says what a node's interest is."""
    base = (keys.of_kind("networks"), keys.of_kind("routers"))
    return frozenset((Exactly(keys.guard), Exactly(keys.attached + node), *base))


def _attached(key: str, value: bytes | None) -> frozenset[str] | None:
    if value is None:
        return frozenset()
    try:
        return frozenset(decode(key, value, Attached).networks)
    except WeftError:
        return None
