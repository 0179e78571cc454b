"""From the store to the world: a snapshot, then change by change, with what each change makes dirty.

Records are hostile until decoded. One that does not decode is kept out of the world and remembered in `broken`; the
networks it belongs to are then held as they are on the wire (see weft.agent.hold), never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from weft.agent.admit import fits, rows_alone
from weft.compile.world import World
from weft.model.address import parse_ip, parse_unicast_mac
from weft.model.endpoint import Endpoint
from weft.model.errors import Kind, WeftError
from weft.model.network import Network, SegmentKey
from weft.model.node import Facts, Node
from weft.model.port import Port
from weft.model.router import Router
from weft.store.intent import APPLYING, decode_object
from weft.store.prefix import Prefixes
from weft.store.records import Keys, decode
from weft.store.store import Changes, Put, Snapshot

T = TypeVar("T")
Moves = dict[SegmentKey, tuple[set[str], set[str]]]  # (MACs, IPs)


class Feed:
    """`world` and the store revision it stands for; `loaded`: it stands on a complete snapshot. `applied`: somebody has
    applied something to this store at some time, so that what is not in it is not wanted. `applying`: a large apply is
    half written: what is known so far is nobody's intent.

    `own`: a node whose endpoints are this process's to say. Once loaded, what the store tells of them is kept in
    `echoes` (by segment and MAC; None: deleted) and changes nothing: who writes a record needs no news of it. What
    others say of theirs from then on is listed in `arrived` as well.
    """

    def __init__(self, keys: Keys, own: str | None = None) -> None:
        self.keys = keys
        self.own = own
        self.world = World()
        self.revision = 0
        self.intended = 0  # the revision of the last change that was not an endpoint's
        self.version = 0  # counts changes to judge: equal versions mean that the same objects are sound
        self.sound = -1  # the version at which whoever judges has found no problem at all
        self.loaded = False
        self._loading = False
        self.applied = False
        self.applying = False
        self.broken: dict[str, WeftError] = {}
        self.departed: set[str] = set()  # nodes that a port has left for another one
        self.echoes: dict[tuple[SegmentKey, str], bytes | None] = {}
        self.arrived: list[Endpoint] = []
        self._dirty: set[str] = set()
        self._moved: Moves = {}
        self._ahead: dict[str, int] = {}  # what was read apart, and the revision at which that was

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Everything there is to know; an agent takes less (weft.agent.interest)."""
        return (self.keys.guard, self.keys.facts, self.keys.endpoints)  # the guard's key begins those of all intent

    def load(self, snapshot: Snapshot) -> None:
        """Starts anew from a snapshot: what is not in it is gone."""
        known = set(self.world.networks)
        self.world = World(dead=self.world.dead)
        self._news()
        self.broken, self.echoes, self._ahead = {}, {}, {}
        self.arrived, self._moved = [], {}  # all is dirty
        self.loaded = self.applied = self.applying = False
        self._loading = True
        for item in snapshot.items:
            self._take(item.key, item.value)
        self.revision = self.intended = snapshot.revision
        self.loaded = True
        self._dirty |= known | set(self.world.networks)
        self._loading = False

    def take(self, changes: Changes, fetched: Snapshot | None = None, prefixes: Iterable[str] = ()) -> None:
        """Takes changes; and with them what was read of further `prefixes`, of which nothing was known before."""
        if any(not change.key.startswith(self.keys.endpoints) for change in changes.changes):
            self.intended = changes.revision
        for change in changes.changes:
            if not self._is_old(change.key, changes.revision):
                self._take(change.key, change.value)
        self.revision = max(self.revision, changes.revision)
        if fetched is not None:
            for item in fetched.items:
                self._take(item.key, item.value)
            self._ahead |= dict.fromkeys(prefixes, fetched.revision)

    def _is_old(self, key: str, revision: int) -> bool:
        """Whether a change was read before it was told."""
        if not self._ahead:
            return False
        self._ahead = {prefix: until for prefix, until in self._ahead.items() if until >= revision}
        return key in Prefixes(self._ahead)

    def drop(self, prefixes: Iterable[str]) -> None:
        """Forgets the ports and endpoints under these prefixes: nothing more will be told of them."""
        gone = Prefixes(prefixes)
        networks = {name for name in self.world.ports if self.keys.ports_of(name) in gone}
        segments = {key for key in self.world.seen if self.keys.endpoints_of(key) in gone}
        for name in networks:
            self.world.drop_ports(name)
        for key in segments:
            self.world.sightings.drop(key)
            self._moved.pop(key, None)
        self.broken = {key: error for key, error in self.broken.items() if key not in gone}
        self._ahead = {prefix: until for prefix, until in self._ahead.items() if prefix not in gone}
        self._news()
        self._dirty |= networks | {name for name, network in self.world.networks.items() if network.key in segments}

    def taken(self) -> set[str]:
        """The dirty networks, those where an endpoint moved among them; they are clean from now on."""
        moved = self.taken_moves()
        dirty, self._dirty = self._dirty, set()
        vnis = {key.vni for key in moved}
        networks = (network for network in self.world.networks.values() if network.vni in vnis)
        return dirty | {network.name for network in networks if network.key in moved}

    def taken_moves(self) -> Moves:
        """(MACs, IPs) of endpoints that came, changed or went, by segment; settled from now on."""
        moved, self._moved = self._moved, {}
        return moved

    @property
    def settled(self) -> bool:
        """Nothing but endpoints has changed."""
        return self.loaded and not self._dirty

    def dirty(self, networks: set[str]) -> None:
        self._dirty |= networks

    def _take(self, key: str, value: bytes | None) -> None:
        if key == self.keys.guard:
            self.applied, self.applying = value is not None, value == APPLYING
            return
        if self.broken.pop(key, None) and not key.startswith(self.keys.endpoints):
            self._news()
        try:
            if key.startswith(self.keys.intent):
                self._take_intent(key, value)
            elif key.startswith(self.keys.facts):
                self._news()
                self._take_facts(key, value)
            elif key.startswith(self.keys.endpoints):
                self._take_endpoint(key, value)
        except WeftError as error:
            self.broken[key] = error
            if not key.startswith(self.keys.endpoints):
                self._news()

    def _news(self) -> None:
        """Something that all must be judged anew for."""
        self.version += 1

    def _take_intent(self, key: str, value: bytes | None) -> None:
        kind, name, network = self.keys.kind_and_name(key)
        thing = decode_object(self.keys, Put(key, value))[1] if value is not None else None
        if kind == "ports":
            self._take_port(network, name, thing if isinstance(thing, Port) else None)
            return
        self._news()
        self.world.redeclared()
        if kind == "networks":
            self._dirty.add(name)
            _set(self.world.networks, name, thing, Network)
        elif kind == "routers":
            earlier = self.world.routers.get(name)
            _set(self.world.routers, name, thing, Router)
            for router in filter(None, (earlier, self.world.routers.get(name))):
                self._dirty |= set(router.gateways)  # its addresses are nobody else's
        elif kind == "nodes":
            self._dirty |= self._networks_of(name)
            _set(self.world.nodes, name, thing, Node)

    def _take_port(self, network: str, name: str, port: Port | None) -> None:
        if self._loading:
            self.world.put_port(network, name, port)
            return
        before = self.world.declarations.get(network, name)
        if before and port and before.node != port.node:
            self.departed.add(before.node)
        # A sound world that stays so needs no judging; nothing is judged before it was judged whole.
        own = self.own or ""
        sound = self.loaded and self.sound == self.version and fits(self.world, own, before, port)
        if sound and rows_alone(self.world, own, before, port):
            for each in filter(None, (before, port)):
                self._touched(self.world.networks[network].key, each.mac, each.ips)
        else:
            self._dirty.add(network)
        self.world.put_port(network, name, port, unique=sound)
        if not sound:
            self._news()

    def _take_facts(self, key: str, value: bytes | None) -> None:
        name = key.removeprefix(self.keys.facts)
        before = self.world.facts.get(name)
        if value is None:
            self.world.facts.pop(name, None)
        else:
            self.world.facts[name] = decode(key, value, Facts)
        if self.world.facts.get(name) != before:
            self._dirty |= self._networks_of(name)

    def _take_endpoint(self, key: str, value: bytes | None) -> None:
        place, mac, node = self.keys.endpoint_of(key)
        if node == self.own and self.loaded:
            self.echoes[place, mac] = value
            return
        if self._loading:
            self.world.see(_endpoint(self.keys, key, value or b""))
            return
        before = self.world.forget(place, mac, node)
        if before is not None:
            self.moved(before)
        if value is not None:
            endpoint = _endpoint(self.keys, key, value)
            self.see(endpoint)
            if self.own is not None:
                self.arrived.append(endpoint)

    def see(self, endpoint: Endpoint) -> None:
        """An endpoint in its place, with what that changes."""
        before = self.world.see(endpoint)
        for each in (before, endpoint):
            if each is not None:
                self.moved(each)

    def forget(self, key: SegmentKey, mac: str, node: str) -> None:
        """An endpoint taken away, with what that changes."""
        before = self.world.forget(key, mac, node)
        if before is not None:
            self.moved(before)

    def moved(self, endpoint: Endpoint) -> None:
        """Rows of this MAC and of these IPs may have to change."""
        self._touched(endpoint.key, endpoint.mac, endpoint.ips)

    def _touched(self, key: SegmentKey, mac: str, its: Iterable[str]) -> None:
        macs, ips = self._moved.setdefault(key, (set(), set()))
        if mac:
            macs.add(mac)
        ips.update(its)

    def _networks_of(self, node: str) -> set[str]:
        networks = set(self.world.declarations.groups_on(node))
        networks |= {
            network.name
            for network in self.world.networks.values()
            if network.routed and (not network.routed.nodes or node in network.routed.nodes)
        }
        for router in self.world.routers.values():
            if node in router.placement or any(side.node == node for side in router.external):
                networks |= set(router.gateways)
        return networks

    def suspect(self, dead: frozenset[str]) -> bool:
        """The nodes that do not answer, as this node finds. Whether that is news; what routers reach is dirty then."""
        if dead == self.world.dead:
            return False
        self.world.dead = dead
        self._dirty |= {network for router in self.world.routers.values() for network in router.gateways}
        return True


def _set(mapping: dict[str, T], name: str, thing: object, type_: type[T]) -> None:
    if isinstance(thing, type_):
        mapping[name] = thing
    else:
        mapping.pop(name, None)


def _endpoint(keys: Keys, key: str, value: bytes) -> Endpoint:
    """The endpoint under a key; raises INVALID where it contradicts its key or is nobody's address."""
    found = decode(key, value, Endpoint)
    if keys.endpoint(found) != key:
        raise WeftError(Kind.INVALID, f"the record says it is {keys.endpoint(found)}", where=key, remedy="delete it")
    try:
        told = parse_unicast_mac(found.mac), *map(parse_ip, found.ips)
    except WeftError as error:
        raise WeftError(Kind.INVALID, error.what, where=key, remedy="delete it") from None
    if told != (found.mac, *found.ips):
        raise WeftError(Kind.INVALID, "an address is not written as weft writes it", where=key, remedy="delete it")
    return found
