"""Ports and sightings in columns say what dictionaries of values would say, whatever came and went."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from tests.compile import strange
from weft.compile import columns
from weft.compile.index import Index, all_folded, folded, word_within, words_within
from weft.compile.world import World
from weft.model.endpoint import Endpoint
from weft.model.port import Port
from weft.model.validate.port import place_of


class TheWorld(RuleBasedStateMachine):
    """A world beside dictionaries of what was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.ports: dict[tuple[str, str], Port] = {}
        self.seen: dict[tuple[Any, str, str], Endpoint] = {}

    @rule(port=strange.ports)
    def put(self, port: Port) -> None:
        key = port.network, port.name
        assert self.world.declarations.get(*key) == self.ports.get(key)
        self.world.put_port(port.network, port.name, port)
        self.ports.pop(key, None)  # what is put again comes last
        self.ports[key] = port

    @rule(network=st.sampled_from(["blue", "green"]), name=st.sampled_from(strange.NAMES))
    def take(self, network: str, name: str) -> None:
        self.world.put_port(network, name, None)
        self.ports.pop((network, name), None)

    @rule(network=st.sampled_from(["blue", "green"]))
    def drop(self, network: str) -> None:
        self.world.drop_ports(network)
        self.ports = {key: port for key, port in self.ports.items() if key[0] != network}

    @rule(endpoint=strange.endpoints)
    def see(self, endpoint: Endpoint) -> None:
        key = endpoint.key, endpoint.mac, endpoint.node
        assert self.world.see(endpoint) == self.seen.pop(key, None)
        self.seen[key] = endpoint

    @rule(key=st.sampled_from(strange.KEYS), mac=strange.macs, node=st.sampled_from(strange.NODES))
    def forget(self, key: Any, mac: str, node: str) -> None:
        assert self.world.forget(key, mac, node) == self.seen.pop((key, mac, node), None)

    @rule(key=st.sampled_from(strange.KEYS))
    def drop_segment(self, key: Any) -> None:
        self.world.sightings.drop(key)
        self.seen = {each: endpoint for each, endpoint in self.seen.items() if each[0] != key}

    @invariant()
    def holds_the_same(self) -> None:
        assert list(self.world.declarations) == [*self.ports.values()]
        assert list(self.world.endpoints()) == [*self.seen.values()]
        assert len(self.world.declarations) == len(self.ports)
        networks = {network for network, _ in self.ports}
        assert set(self.world.ports) == networks
        for network in networks:
            mine = [port for port in self.ports.values() if port.network == network]
            assert dict(self.world.ports[network]) == {port.name: port for port in mine}
            assert len(self.world.ports[network]) == len(mine)

    @invariant()
    def finds_the_same(self) -> None:
        for network in ("blue", "green"):
            mine = [port for port in self.ports.values() if port.network == network]
            declared = self.world.declared(network)
            assert dict(declared.macs) == {port.mac: port for port in mine if port.mac}
            assert dict(declared.ips) == {ip: port.mac for port in mine for ip in port.ips}
            assert +declared.nodes == {
                node: sum(port.node == node for port in mine) for node in {port.node for port in mine}
            }
            for node in strange.NODES:
                assert self.world.ports_on(network, node) == [port for port in mine if port.node == node]
        for port in self.ports.values():
            assert self.world.declarations.taken(place_of(port))
            named = {network for network, name in self.ports if name == port.name}
            assert set(self.world.declarations.networks_with(port.name)) == named

    @invariant()
    def sees_the_same(self) -> None:
        for key in strange.KEYS:
            here = [endpoint for endpoint in self.seen.values() if endpoint.key == key]
            by_mac: dict[str, dict[str, Endpoint]] = {}
            for endpoint in here:
                by_mac.setdefault(endpoint.mac, {})[endpoint.node] = endpoint
            assert self.world.seen.get(key, {}) == by_mac
            for ip in {ip for endpoint in here for ip in endpoint.ips}:
                have = {(endpoint.mac, endpoint.node) for endpoint in here if ip in endpoint.ips}
                assert set(self.world.sightings.holders(key, ip)) == have


class ThePackedWorld(TheWorld):
    """Packed and grouped anew at every turn."""

    def __init__(self) -> None:
        self.slack, columns._SLACK = columns._SLACK, 0
        super().__init__()

    def teardown(self) -> None:
        columns._SLACK = self.slack


_FEW = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestTheWorld = TheWorld.TestCase
TestTheWorld.settings = _FEW
TestThePackedWorld = ThePackedWorld.TestCase
TestThePackedWorld.settings = _FEW


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=80), st.integers(0, 40))
def test_an_index_finds_what_was_added_and_not_removed(keys: list[int], built: int) -> None:
    index, there = Index(), dict(enumerate(keys))
    index.build(np.array(keys[:built], np.uint64), np.arange(len(keys[:built])), len(keys))
    for entry, key in list(there.items())[built:]:
        assert index.holds(1)
        index.add(key, entry)
    for entry in list(there)[::3]:
        index.remove(there.pop(entry), entry)
    for key in range(13):
        assert {entry for entry, of in there.items() if of == key} <= set(index.find(key))
    assert set().union(*map(index.find, range(13))) <= set(there)


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1))
def test_arrays_are_hashed_as_single_words_are(high: int, low: int, group: int) -> None:
    highs, lows = np.array([high], np.uint64), np.array([low], np.uint64)
    assert all_folded(highs, lows).tolist() == [folded(high, low)]
    assert words_within(np.array([group]), lows).tolist() == [word_within(group, low)]


def test_ten_thousand_ports_cost_little_and_are_taken_away_again() -> None:
    attach = strange.Attach(kind=strange.AttachKind.TAP, target="t")
    port = Port(name="", network="blue", node="h1", attach=attach)
    world = World()
    for n in range(10_000):
        mac, ips = f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", (f"10.1.{n >> 8}.{n & 255}",)
        world.put_port("blue", f"p{n}", replace(port, name=f"p{n}", mac=mac, ips=ips))
    ports = world.declarations
    fields = [value for value in vars(ports).values() if isinstance(value, array)]
    indices = [value._slots for value in vars(ports).values() if isinstance(value, Index)]
    octets = sum(len(each) * each.itemsize for each in (*fields, *indices)) + len(ports.rest)
    assert octets < 120 * 10_000
    assert world.declared("blue").macs["02:00:00:00:01:00"].ips == ("10.1.1.0",)
    for n in range(10_000):
        world.put_port("blue", f"p{n}", None)
    assert (len(ports), dict(world.ports)) == (0, {})
    assert len(ports.macs) < 200, "what is gone is packed away"
