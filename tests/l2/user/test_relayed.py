"""A segment whose ARP is relayed: who hears of a frame, what waits for the agent, and where it puts frames."""

from __future__ import annotations

import errno
import time
from typing import Any, cast

import pytest

from tests.l2.user.frames import BROADCAST, HOSTS, A, B, C, arp, udp
from weft.l2.user import control
from weft.l2.user.inject import Injector
from weft.l2.user.switch import Switch, Way
from weft.l2.user.underlay import Underlay
from weft.l2.user.vnet import PLAIN
from weft.l2.user.world import PortState, SegmentState, World
from weft.model.address import mac_to_int
from weft.model.errors import Kind, WeftError
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach, AttachKind
from weft.plan import tables
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Table
from weft.wire import arp as arps
from weft.wire.ethernet import ARP, Ethernet, Tag

KEY = SegmentKey(4789, 5000)
PEERS = ("192.168.33.13", "192.168.33.14")
QUESTION = arp(arps.request(A, *HOSTS[4]).encode())


def octets(mac: str) -> bytes:
    return mac_to_int(mac).to_bytes(6, "big")


def relayed() -> Switch:
    """`a` and `b` are hosts, `r/blue` is a router's interface."""
    switch = Switch(learning=True, age=300, arp=Arp.PROXY)
    switch.ports = {"a": True, "b": True, "r/blue": False}
    switch.flood = PEERS
    return switch


@pytest.mark.parametrize("dst", [BROADCAST, C])
@pytest.mark.parametrize("tags", [(), (Tag(7),), (Tag(7), Tag(8))])
def test_arp_of_tunnels_goes_to_the_relay_alone(dst: str, tags: tuple[Tag, ...]) -> None:
    switch = relayed()
    switch.from_port("r/blue", udp(b"", src=C), 0)
    frame = Ethernet(dst, B, ARP, tags).encode(arps.request(B, *HOSTS[4]).encode())
    assert switch.from_tunnel(PEERS[0], frame, 0) == Way(punt=True)
    assert switch.behind(octets(B), 0) == PEERS[0], "but where it came from is known"
    assert switch.from_tunnel(PEERS[0], udp(b"", src=B, dst=C), 0) == Way(ports=("r/blue",))


def test_arp_of_ports_reaches_routers_and_no_tunnel() -> None:
    switch = relayed()
    assert switch.from_port("a", QUESTION, 0) == Way(ports=("r/blue",))
    gratuitous = arp(arps.request(C, "10.1.1.1", "10.1.1.1").encode(), src=C)
    assert switch.from_port("r/blue", gratuitous, 0) == Way(ports=("a", "b"))
    tagged = Ethernet(BROADCAST, C, ARP, (Tag(7),)).encode(arps.request(C, *HOSTS[4]).encode())
    assert switch.from_port("r/blue", tagged, 0).vteps == ()


def test_what_routers_send_where_nobody_is_known_any_more_follows_the_flood_list() -> None:
    switch = relayed()
    assert switch.from_port("r/blue", udp(b"", src=C), 0) == Way(ports=("a", "b"), vteps=PEERS)
    assert switch.from_port("a", udp(b""), 0) == Way(ports=("r/blue",))
    switch.from_tunnel(PEERS[1], udp(b"", src=B, dst=C), 0)
    assert switch.from_port("r/blue", udp(b"", src=C), 1) == Way(vteps=PEERS[1:])


# What the agent sends


class Wire:
    """An underlay that only notes who gets what."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []

    def most(self, size: int) -> int:
        return 64 * size

    def send_train(self, bucket: int, vtep: str, data: memoryview, size: int, tos: int) -> None:
        self.sent.append((vtep, bytes(data[8:])))


class Jack:
    """A device that only notes what it is given, or that is down."""

    fd = -1

    def __init__(self, down: bool = False) -> None:
        self.down, self.got = down, list[bytes]()

    def write(self, parts: Any) -> None:
        if self.down:
            raise OSError(errno.EIO, "is down")
        self.got.append(b"".join(parts))


class Node:
    def __init__(self) -> None:
        self.wire, self.jacks = Wire(), {"a": Jack(down=True), "b": Jack(), "r/blue": Jack()}
        segment = Segment(KEY, "blue", "192.168.33.12", 1450, True, 300, Arp.PROXY)
        self.state = SegmentState(segment, cast(Underlay, self.wire))
        self.state.put(Table.FLOOD, tables.flood(list(PEERS)))
        self.state.switch.ports = {name: "/" not in name for name in self.jacks}
        attach = Attach(kind=AttachKind.NAMESPACE, target="x")
        self.world = World({KEY: self.state})
        for name, jack in self.jacks.items():
            port = LocalPort(name, KEY, attach, A, (), 1450)
            self.world.ports[name] = PortState(port, "x", cast(Any, jack))
        self.injector = Injector(self.world)

    def put(self, tunnels: bool, to: str | None = None, frame: bytes = QUESTION) -> None:
        self.injector.put(control.Inject(KEY, frame, tunnels, to))


@pytest.fixture
def node() -> Node:
    return Node()


def test_to_all_tunnels_to_one_vtep_and_to_who_has_the_mac(node: Node) -> None:
    node.put(True)
    assert sorted(node.wire.sent) == [(vtep, QUESTION) for vtep in PEERS]
    node.wire.sent.clear()
    node.put(True, PEERS[1])
    answer = arp(QUESTION[14:], src=C, dst=B)
    node.put(True, frame=answer)
    assert sorted(node.wire.sent[1:]) == [(vtep, answer) for vtep in PEERS], "nobody knows where B is"
    node.wire.sent[1:] = []
    node.state.switch.from_tunnel(PEERS[0], udp(b"", src=B, dst=C), time.monotonic())
    node.put(True, frame=answer)
    assert node.wire.sent == [(PEERS[1], QUESTION), (PEERS[0], answer)]


def test_to_all_hosts_or_to_one_port(node: Node) -> None:
    node.put(False)
    assert node.jacks["b"].got == [PLAIN + QUESTION], "though a's device is down"
    assert node.jacks["r/blue"].got == []
    node.put(False, "r/blue")
    assert node.jacks["r/blue"].got == [PLAIN + QUESTION]
    assert node.injector.tally.drops == {"port does not take it": 1}
    assert node.wire.sent == []


def test_what_cannot_be_put_is_named(node: Node) -> None:
    for request, kind, what in (
        (control.Inject(KEY, QUESTION, False, "zz"), Kind.NOT_FOUND, "not in this segment"),
        (control.Inject(SegmentKey(4789, 1), QUESTION, True, None), Kind.NOT_FOUND, "not here"),
        (control.Inject(KEY, b"short", True, None), Kind.INVALID, "14 octets"),
    ):
        with pytest.raises(WeftError, match=what) as caught:
            node.injector.put(request)
        assert caught.value.kind is kind
