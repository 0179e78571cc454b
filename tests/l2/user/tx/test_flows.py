"""What is remembered of flows changes nothing: frames, tables, ports and time as they come, with it and without it."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.l2.user.frames import BROADCAST, HOSTS, A, B, C, arp, echo, offloaded, tcp, udp
from tests.l2.user.iptunnel.fakes import FakeDevice
from weft.l2.user import vnet
from weft.l2.user.control import Overheard
from weft.l2.user.tx import flows
from weft.l2.user.tx.egress import Egress
from weft.l2.user.tx.flows import Flow, Flows, Known
from weft.l2.user.underlay import Underlay
from weft.l2.user.vnet import NEEDS_CSUM, PLAIN, Offload
from weft.l2.user.world import PortState, SegmentState, World
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach, AttachKind
from weft.plan import tables
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Table
from weft.wire import arp as arps
from weft.wire import nd
from weft.wire.checksum import PseudoHeader
from weft.wire.ethernet import IPV6, Ethernet, Tag
from weft.wire.ipv6 import IPv6

KEY = SegmentKey(4789, 5000)
SEGMENT = Segment(KEY, "blue", "192.168.33.12", 600, True, 10, Arp.FLOOD)
PEERS = ("192.168.33.13", "192.168.33.14")
PORTS = ("a", "b", "r/blue")
D = "02:00:00:00:00:0d"
AGE = 10.0


class Wire:
    """An underlay that keeps every train, in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, str, bytes, int, int]] = []

    def most(self, size: int) -> int:
        return 2000 // size * size

    def send_train(self, bucket: int, vtep: str, data: memoryview, size: int, tos: int) -> None:
        self.sent.append((bucket, vtep, bytes(data), size, tos))


class Nothing(Known):
    def find(self, buffer: memoryview, size: int, now: float) -> Flow | None:
        return None


class Forgetful(Flows):
    """Knows nothing: every frame goes the long way."""

    def of(self, port: PortState, state: SegmentState) -> Known:
        return Nothing(port, state)


class Node:
    """A forwarder's way out, with a device that only notes what it is given for each port."""

    def __init__(self, forgetful: bool = False, segment: Segment = SEGMENT) -> None:
        self.wire, self.world = Wire(), World()
        self.egress = Egress(self.world)
        if forgetful:
            self.egress._flows = Forgetful(self.world)
        self.devices = {name: FakeDevice() for name in PORTS}
        self.rebuild(segment)
        for name in PORTS:
            self.plug(name, False)
        self.turn = self.world.ears.watch(frozenset())

    @property
    def state(self) -> SegmentState:
        return self.world.segments[KEY]

    def rebuild(self, segment: Segment) -> None:
        fresh = SegmentState(segment, cast(Underlay, self.wire))
        if KEY in self.world.segments:
            fresh.switch.ports = self.state.switch.ports
        self.world.segments[KEY] = fresh

    def plug(self, name: str, isolated: bool) -> None:
        port = LocalPort(name, KEY, Attach(kind=AttachKind.NAMESPACE, target="x"), A, (), 600)
        self.world.ports[name] = PortState(port, "x", self.devices[name])
        self.state.switch.plug(name, isolated)

    def unplug(self, name: str) -> None:
        self.world.ports.pop(name, None)
        self.world.ears.gone(KEY, self.state.switch.unplug(name))

    def send(self, name: str, frames: list[bytes], now: float) -> None:
        if name in self.world.ports:
            self.devices[name].put += frames
            self.egress.drain(self.world.ports[name], now)

    def heard(self) -> Overheard | None:
        return self.world.ears.take(self.turn, 0)

    def told(self) -> list[Any]:
        """Everything that a flow can change."""
        taken = {name: device.taken for name, device in self.devices.items()}
        switch = self.state.switch
        return [self.wire.sent, taken, self.egress.tally, switch.learned, switch.epoch, self.heard()]


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def between(frame: bytes, src: str, dst: str) -> bytes:
    return octets(dst) + octets(src) + frame[12:]


def solicitation() -> bytes:
    src, dst = HOSTS[6]
    message = nd.NeighborSolicitation(target=dst).encode(PseudoHeader(src, dst))
    return Ethernet(B, A, IPV6).encode(IPv6(src, dst, 58, hop_limit=255).encode(message))


def big(version: int, mss: int, segments: int, last: int, flags: int, tos: int, ports: tuple[int, int]) -> bytes:
    payload = bytes((segments - 1) * mss + last)
    options = bytes(ports[0] % 2 * 12)
    frame, offload = offloaded(tcp(payload, version=version, flags=flags, tos=tos, ports=ports, options=options), mss)
    return offload.encode() + frame


def small(body: bytes, offload: Offload) -> bytes:
    return offload.encode() + body


_FLOWS = st.sampled_from([(1, 9), (2, 9), (3, 9)])
_LIES = st.builds(
    Offload,
    st.sampled_from([0, NEEDS_CSUM]),
    st.sampled_from([0, 0, 1, 4, 5, 9, 0x81]),
    st.just(0),
    st.integers(0, 200),
    st.sampled_from([0, 14, 26, 33, 34, 54, 120]),
    st.sampled_from([0, 4, 6, 10, 16, 100]),
)
_PLAIN = st.one_of(
    st.builds(udp, st.binary(max_size=80)),
    st.builds(
        lambda size, version, ports: tcp(bytes(size), version=version, ports=ports),
        st.sampled_from([0, 5, 600]),
        st.sampled_from([4, 6]),
        _FLOWS,
    ),
    st.builds(echo, st.sampled_from([4, 6]), st.integers(0, 9), st.binary(max_size=8)),
    st.builds(lambda tos: tcp(b"x", tos=tos), st.integers(0, 3)),
    st.sampled_from([tcp(b"x", tags=(Tag(7),)), arp(arps.request(A, *HOSTS[4]).encode()), solicitation()]),
    st.binary(max_size=70),
)
_BIG = st.builds(
    big,
    st.sampled_from([4, 6]),
    st.sampled_from([99, 100, 700]),
    st.integers(1, 5),
    st.sampled_from([100, 50, 99]),
    st.sampled_from([0x10, 0x18, 0x91]),
    st.integers(0, 3),
    _FLOWS,
)
_FRAMES = st.one_of(
    st.builds(small, _PLAIN, st.one_of(st.just(vnet.decode(PLAIN)), _LIES)),
    st.builds(
        lambda body: small(body, Offload(NEEDS_CSUM, start=34, offset=6)), st.builds(udp, st.binary(max_size=80))
    ),
    _BIG,
    st.builds(lambda frame, lie: small(frame[vnet.SIZE :], lie), _BIG, _LIES),
)
_HEADED = st.builds(
    lambda frame, src, dst: frame[: vnet.SIZE] + between(frame[vnet.SIZE :], src, dst),
    _FRAMES,
    st.sampled_from([A, A, A, C, BROADCAST]),
    st.sampled_from([B, B, D, C, BROADCAST]),
)
_LOOKS = st.tuples(  # of few frames, many times, of different lengths
    st.just("send"),
    st.sampled_from(["a", "a", "a", "b", "r/blue"]),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 0, 0, -30, -1, 1, 600])), min_size=1, max_size=8),
)
_ROWS = st.one_of(
    st.tuples(
        st.just(Table.FDB),
        st.builds(tables.fdb, st.tuples(st.tuples(st.sampled_from([A, B, C]), st.sampled_from(PEERS)))),
    ),
    st.tuples(st.just(Table.FLOOD), st.builds(lambda vtep: tables.flood([vtep]), st.sampled_from(PEERS))),
    st.tuples(st.just(Table.NEIGHBORS), st.just(tables.neighbors([(HOSTS[4][1], B)]))),
)
_SEGMENTS = st.builds(
    lambda mtu, learning, rules, anycast: replace(SEGMENT, mtu=mtu, learning=learning, arp=rules, anycast=anycast),
    st.sampled_from([600, 150]),
    st.booleans(),
    st.sampled_from(list(Arp)),
    st.sampled_from([(), (B,), (HOSTS[4][1],)]),
)
_CHANGES = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from([A, B, C, D]), st.sampled_from(PEERS)),
    st.tuples(st.sampled_from(["put", "drop"]), _ROWS),
    st.tuples(st.just("plug"), st.sampled_from(PORTS), st.booleans()),
    st.tuples(st.just("unplug"), st.sampled_from(PORTS[1:])),
    st.tuples(st.just("forget"), st.sampled_from(PORTS)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 4.0, 9.0, 11.0])),
    st.tuples(st.just("expire")),
    st.tuples(st.sampled_from(["state", "rebuild"]), _SEGMENTS),
    st.tuples(st.just("watch"), st.booleans()),
)


def change(node: Node, step: tuple[Any, ...], now: float) -> None:
    switch, ears = node.state.switch, node.world.ears
    match step:
        case ("send", name, frames):
            node.send(name, frames, now)
        case ("arrive", mac, vtep):
            switch.from_tunnel(vtep, between(udp(b""), mac, A), now)
        case ("put", (table, rows)):
            node.state.put(table, rows)
        case ("drop", (table, rows)):
            node.state.drop(table, rows)
        case ("plug", name, isolated):
            node.plug(name, isolated)
        case ("unplug", name):
            node.unplug(name)
        case ("forget", name):
            ears.gone(KEY, switch.forget(name))
        case ("expire",):
            ears.gone(KEY, switch.expire(now))
        case ("state", segment):
            node.state.state(segment, cast(Underlay, node.wire))
        case ("rebuild", segment):
            node.rebuild(segment)
        case ("watch", on):
            node.turn = ears.watch(frozenset((KEY,) if on else ()))


def lengthened(frame: bytes, by: int) -> bytes:
    return frame + bytes(by) if by >= 0 else frame[: max(by + len(frame), vnet.SIZE + 14)]


@pytest.mark.thorough
@settings(max_examples=100)
@given(
    _SEGMENTS,
    st.lists(_HEADED, min_size=1, max_size=4),
    st.lists(st.tuples(st.one_of(st.just(("wait", 0.1)), _CHANGES), _LOOKS), min_size=8, max_size=30),
)
def test_with_flows_and_without(segment: Segment, frames: list[bytes], steps: list[tuple[Any, ...]]) -> None:
    now, with_flows, without = 1.0, Node(segment=segment), Node(segment=segment, forgetful=True)
    for step in chain.from_iterable(steps):
        now += step[1] if step[0] == "wait" else 0.01
        if step[0] == "send":
            step = (*step[:2], [lengthened(frames[number % len(frames)], by) for number, by in step[2]])
        for each in (with_flows, without):
            change(each, step, now)
        assert with_flows.told() == without.told()


def test_a_flow_is_found_from_its_third_frame_on_until_its_epoch_ends() -> None:
    frame = PLAIN + udp(b"hello")
    for number, step in enumerate(
        [
            ("arrive", B, PEERS[1]),
            ("put", (Table.FDB, tables.fdb([(B, PEERS[1])]))),
            ("put", (Table.FLOOD, tables.flood([PEERS[1]]))),
            ("plug", "b", True),
            ("unplug", "b"),
            ("forget", "a"),
            ("state", replace(SEGMENT, mtu=30)),
            ("rebuild", SEGMENT),
            ("wait", AGE + 1),
        ]
    ):
        node, now = Node(), 1.0
        node.state.put(Table.FLOOD, tables.flood(PEERS[:1]))
        node.state.switch.from_tunnel(PEERS[0], between(udp(b""), B, A), now)
        node.send("a", [frame] * 2, now)
        assert found(node, frame, now) is not None, number
        change(node, step, now)
        later = now + (step[1] if step[0] == "wait" else 0)
        assert found(node, frame, later) is None, number


@pytest.mark.parametrize("version", [4, 6])
def test_echo_requests_are_one_flow(version: int) -> None:
    node, now = Node(), 1.0
    node.state.put(Table.FLOOD, tables.flood(PEERS[:1]))
    frames = [PLAIN + echo(version, number) for number in range(3)]
    node.send("a", frames[:2], now)
    assert found(node, frames[2], now) is not None


def test_who_has_an_address_is_never_a_flow() -> None:
    node, now = Node(), 1.0
    node.state.put(Table.FLOOD, tables.flood(PEERS[:1]))
    node.send("a", [PLAIN + solicitation()] * 3, now)
    assert found(node, PLAIN + solicitation(), now) is None


def found(node: Node, frame: bytes, now: float) -> Flow | None:
    buffer = memoryview(bytearray(frame + bytes(60)))
    return node.egress._flows.of(node.world.ports["a"], node.state).find(buffer, len(frame), now)


def test_a_flood_is_not_remembered_of_a_mac_that_was_silent_and_may_speak_again() -> None:
    node, frame = Node(), PLAIN + udp(b"hello")
    node.state.put(Table.FLOOD, tables.flood(PEERS))
    for now in (1.0, AGE + 2):
        node.wire.sent.clear()
        node.state.switch.from_tunnel(PEERS[0], between(udp(b""), B, A), 1.0)
        node.send("a", [frame] * 3, now)
    assert {vtep for _, vtep, *_ in node.wire.sent} == set(PEERS)
    node.wire.sent.clear()
    change(node, ("arrive", B, PEERS[0]), AGE + 2)
    node.send("a", [frame], AGE + 2)
    assert [vtep for _, vtep, *_ in node.wire.sent] == [PEERS[0]]


def test_a_checksum_among_what_tells_the_flow_is_finished_first() -> None:
    """Where an offload header lies so, the flow is another one with each payload, and so may be the source port."""
    nodes = Node(), Node(forgetful=True)
    lie = Offload(NEEDS_CSUM, start=14, offset=12)
    for node in nodes:
        node.state.put(Table.FLOOD, tables.flood(PEERS[:1]))
        node.send("a", [small(udp(b"hello") + bytes((number, 7)), lie) for number in range(50)], 1.0)
    assert nodes[0].wire.sent == nodes[1].wire.sent


def test_frames_of_a_known_flow_refresh_its_source() -> None:
    node, frame = Node(), PLAIN + udp(b"hello")
    node.state.switch.from_tunnel(PEERS[0], between(udp(b""), B, A), 1.0)
    for now in (1.0, 1.0, 1.0, AGE):
        node.send("a", [frame], now)
    assert node.state.switch.learned[octets(A)].seen == AGE
    assert node.egress.tally.port_in == {"a": 4}
    assert node.egress.tally.port_in_octets == {"a": 4 * len(udp(b"hello"))}
    assert node.egress.tally.tunnel_out == {KEY: 4}


def test_strangers_flows_are_bounded() -> None:
    node = Node()
    node.state.switch.from_tunnel(PEERS[0], between(udp(b""), B, A), 1.0)
    for number in range(2 * flows.MOST + 10):
        frame = bytearray(PLAIN + udp(b"hello"))
        frame[36:40] = number.to_bytes(4, "big")
        node.send("a", [bytes(frame)] * 2, 1.0)
        assert len(node.egress._flows.of(node.world.ports["a"], node.state).flows) <= flows.MOST


def test_ports_that_are_gone_are_forgotten() -> None:
    node = Node()
    for name in PORTS:
        node.send(name, [PLAIN + udp(b"hello")], 1.0)
    node.unplug("b")
    node.plug("a", False)
    node.send("a", [PLAIN + udp(b"hello")], 1.0)
    assert set(node.egress._flows._ports) == {"a", "r/blue"}
