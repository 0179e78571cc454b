"""Machines of several nodes around one store, with the store's order of things but each node's own time to hear it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.fleet import intent, network, port
from weft.agent.feed import Feed
from weft.agent.learning import Sightings
from weft.agent.limits import Limits
from weft.agent.sighting import Probe, Sighting
from weft.compile.endpoints import Location, locate, owner
from weft.model.endpoint import Endpoint
from weft.model.intent import Intent
from weft.model.port import Attach, AttachKind
from weft.store.records import Keys, encode
from weft.store.store import Change, Changes, Item, Snapshot

KEYS = Keys()
BLUE = network("blue", 5000)
KEY = BLUE.key
MAC, OTHER = "02:aa:00:00:00:01", "02:aa:00:00:00:02"


def trunk(node: str, **more: Any) -> Any:
    """A port of the node behind which anybody may be; declared as 10.1.1.20x."""
    number = 200 + int(node[1:])
    attach = Attach(kind=AttachKind.INTERFACE, target="eth5")
    return port(f"t{node[1:]}", "blue", node, number, attach=attach, **more)


def fleet_intent(*ports: Any) -> Intent:
    return intent([BLUE], [trunk("h1"), trunk("h2"), trunk("h3"), *ports])


@dataclass
class Node:
    name: str
    feed: Feed
    machine: Sightings
    heard: int = 0  # how much of the store's history it knows
    probes: list[Probe] = field(default_factory=list)


class Fleet:
    """`log`: every write in the order the store took them; `stored`: what they come to."""

    def __init__(self, of: Intent | None = None, limits: Limits | None = None) -> None:
        self.intent = of or fleet_intent()
        self.now = 1000.0
        self.log: list[tuple[str, bytes | None]] = []
        self.limits = limits or Limits()
        self.nodes = {name: self.start(name) for name in self.intent.nodes}

    def start(self, name: str) -> Node:
        """A node's machine, fresh, on all that is stored."""
        feed = Feed(KEYS, name)
        things = [*self.intent.nodes.values(), *self.intent.networks.values(), *self.intent.ports.values()]
        stored = {KEYS.of(thing): encode(thing) for thing in things} | self.stored
        feed.load(Snapshot(1, tuple(Item(key, value, 1) for key, value in sorted(stored.items()))))
        machine = Sightings(feed, name, self.limits)
        machine.adopt([each for each in feed.world.endpoints() if each.node == name], self.now)
        machine.declared(self.now)
        node = Node(name, feed, machine, len(self.log))
        feed.arrived.clear()
        return node

    @property
    def stored(self) -> dict[str, bytes]:
        return {key: value for key, value in dict(self.log).items() if value is not None}

    def see(self, node: str, mac: str = MAC, ip: str | None = None, **more: Any) -> None:
        at = more.pop("port", f"t{node[1:]}")
        self.nodes[node].machine.see(Sighting(KEY, mac, at, ip, **more), self.now)

    def write(self, node: str) -> None:
        for (key, mac), record in self.nodes[node].machine.taken().items():
            where = KEYS.endpoint(Endpoint(key=key, mac=mac, node=node))
            self.log.append((where, encode(record) if record else None))

    def hear(self, node: str, most: int = 1 << 30) -> None:
        at = self.nodes[node]
        news = self.log[at.heard : at.heard + most]
        at.heard += len(news)
        at.feed.take(Changes(1, tuple(Change(key, value, 1) for key, value in news)))
        arrived, at.feed.arrived = at.feed.arrived, []
        for endpoint in arrived:
            at.machine.other(endpoint, self.now)

    def settle(self) -> None:
        """Until nobody has anything to say."""
        for _ in range(50):
            for name in self.nodes:
                self.write(name)
            for name in self.nodes:
                self.hear(name)
            if not any(node.machine.changed for node in self.nodes.values()):
                return
        raise AssertionError("the fleet does not come to rest")

    def wait(self, seconds: float, answering: bool = False) -> None:
        """Time passes in small steps; `answering`: whoever is asked is still there."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.5
            for name, node in self.nodes.items():
                for probe in node.machine.tick(self.now):
                    node.probes.append(probe)
                    if answering:
                        self.see(name, probe.mac, probe.ip)
        self.settle()

    def places(self, mac: str = MAC) -> set[Location | None]:
        """Where each node believes the MAC to be: one answer where they agree."""
        return {locate(node.feed.world, BLUE, mac) for node in self.nodes.values()}

    def owners(self, ip: str) -> set[str | None]:
        return {owner(node.feed.world, BLUE, ip) for node in self.nodes.values()}

    def records(self, mac: str = MAC) -> list[Endpoint]:
        worlds = [node.feed.world.seen.get(KEY, {}).get(mac, {}) for node in self.nodes.values()]
        assert all(world == worlds[0] for world in worlds)
        return list(worlds[0].values())

    def notes(self, node: str) -> str:
        return "\n".join(self.nodes[node].machine.notes.lines())
