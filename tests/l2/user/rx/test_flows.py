"""Who remembers flows forwards as who does not: the same frames to the same ports, the same counters and tables."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.l2.user.frames import BROADCAST, A, B, C, arp, echo, tcp, udp
from tests.l2.user.tx.test_split import datagrams
from weft.l2.user.receiver import Arrival
from weft.l2.user.rx import flows
from weft.l2.user.rx.ingress import Ingress
from weft.l2.user.switch import Entry
from weft.l2.user.underlay import Underlay
from weft.l2.user.world import PortState, SegmentState, Tally, World
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach, AttachKind
from weft.plan import tables
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Table
from weft.wire.checksum import checksum
from weft.wire.ethernet import Tag
from weft.wire.packet import dissect
from weft.wire.vxlan import Vxlan

OWN, MEMBER, OTHER, STRANGER = "192.168.33.1", "192.168.33.2", "192.168.33.3", "192.168.33.66"
SEGMENT = Segment(SegmentKey(4789, 5000), "blue", OWN, 1450, True, 300, Arp.FLOOD)
PORTS = ("left", "right")
Train = tuple[bytes, ...]


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _unfinished(frame: bytes) -> bytes:
    """The frame with the pseudo header's sum where TCP's or UDP's checksum stands."""
    packet = dissect(frame)
    assert packet.ip is not None
    assert packet.ethernet is not None
    protocol, at = (6, 16) if packet.tcp else (17, 6)
    start = packet.ethernet.header_length + packet.ip.header_length
    value = checksum(packet.ip.pseudo().encode(protocol, len(frame) - start)) ^ 0xFFFF
    return frame[: start + at] + value.to_bytes(2, "big") + frame[start + at + 2 :]


def _changed(train: Train, index: int, at: int) -> Train:
    """One bit of one datagram is another."""
    datagram = train[index]
    return (*train[:index], datagram[:at] + bytes((datagram[at] ^ 1,)) + datagram[at + 1 :], *train[index + 1 :])


def _pool() -> list[Train]:
    """Trains and datagrams from A to B, the encapsulation of VNI 5000 first."""
    front = Vxlan(5000).encode()
    frames = [
        udp(b"short"),
        udp(bytes(200)),
        udp(bytes(1500)),
        udp(b"x", dst=BROADCAST),
        udp(b"x", dst=C),
        arp(bytes(28)),
        echo(4, 1),
        echo(4, 2, bytes(1500)),
        echo(6, 1),
        echo(6, 2)[:60],
        udp(b"another protocol")[:23] + b"\x32" + udp(b"another protocol")[24:],
        udp(b"another protocol")[:23] + b"\x06" + udp(b"another protocol")[24:],
        tcp(b"", version=6)[:20] + b"\x3c" + tcp(b"", version=6)[21:],
    ]
    frames += [tcp(b"", version=version, tos=tos) for version in (4, 6) for tos in (0, 1, 2, 3)]
    frames += [tcp(b"data", tags=(Tag(7),)), tcp(b"", ports=(1, 2)), tcp(bytes(3000)), tcp(b"", dont_fragment=False)]
    frames += [_unfinished(udp(b"short")), _unfinished(tcp(b"", version=6)), _unfinished(tcp(bytes(3000)))]
    first, later = bytearray(udp(b"of a fragmented packet")), bytearray(udp(b"of a fragmented packet"))
    first[20], later[21] = 0x20, 3
    frames += [
        bytes(first),
        bytes(later),
        _unfinished(udp(b"short"))[:20] + b"\x20" + _unfinished(udp(b"short"))[21:],
        udp(b"short")[:20],
        udp(b"short")[:41],
        tcp(b"")[:50],
    ]
    streams = [datagrams(tcp(bytes(500), version=version, flags=0x18), 100) for version in (4, 6)]
    streams += [datagrams(tcp(bytes(490), options=bytes(12)), 98), datagrams(tcp(bytes(505)), 100)]
    pool: list[Train] = [(front + frame,) for frame in frames]
    pool += [
        (front + udp(b"short"),) * 3,
        (front + udp(b"short"), front + udp(b"other", dst=C)),
        (front + tcp(b""),) * 3,
    ]
    pool += [tuple(stream) for stream in streams]
    pool += [
        _changed(tuple(streams[0]), index, at) for index in (0, 2) for at in (4, 6, 20, 27, 30, 40, 43, 49, 51, 56)
    ]
    later = datagrams(tcp(bytes(500), flags=0x18, sequence=1500, ident=12), 100)
    pool += [(*streams[0][:at], *later) for at in (1, 5)]
    pool.append(tuple(front + _unfinished(datagram[8:]) for datagram in streams[0]))
    return pool


POOL = _pool()


class Device:
    """A port's device that keeps what it takes; `broken`: nothing of an odd number of octets."""

    def __init__(self) -> None:
        self.fd, self.taken, self.broken = -1, list[bytes](), False

    def read(self, buffer: memoryview) -> int:
        return 0

    def write(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        packet = b"".join(parts)
        if self.broken and len(packet) & 1:
            raise OSError
        self.taken.append(packet)

    def close(self) -> None: ...


class Wire:
    """An underlay on which one thing waits."""

    vtep, port = OWN, 4789

    def __init__(self) -> None:
        self.waiting: list[tuple[Arrival, bytes]] = []

    def receive(self, receiver: object, into: memoryview) -> Arrival | None:
        if not self.waiting:
            return None
        arrival, data = self.waiting.pop()
        into[: len(data)] = data
        return arrival


class Host:
    """A world with an ingress that remembers flows, or with a new one for everything that comes."""

    def __init__(self, remembers: bool) -> None:
        self.remembers, self.world, self.wire, self.now = remembers, World(), Wire(), 0.0
        self.ingress, self.tallies = Ingress(self.world), list[Tally]()
        self.devices: list[Device] = []
        self.learned: list[dict[bytes, Entry]] = []  # after every step
        self.segment(SEGMENT)
        for port in PORTS:
            self.plug(port)

    @property
    def state(self) -> SegmentState | None:
        return self.world.segments.get(SEGMENT.key)

    def segment(self, segment: Segment, rebuild: bool = False) -> None:
        """As weft.l2.user.changes puts it."""
        state, underlay = self.state, cast(Underlay, self.wire)
        if state is not None and not rebuild:
            state.state(segment, underlay)
            return
        fresh = SegmentState(segment, underlay)
        if state is not None:
            fresh.switch.ports = state.switch.ports
        self.world.segments[segment.key] = fresh

    def gone(self) -> None:
        for port in PORTS:
            self.unplug(port)
        self.world.segments.pop(SEGMENT.key, None)

    def plug(self, port: str, isolated: bool = False) -> None:
        self.unplug(port)
        if self.state is not None:
            local = LocalPort(
                port, SEGMENT.key, Attach(kind=AttachKind.TAP, target=port), B, (), 1450, isolated=isolated
            )
            self.devices.append(Device())
            self.world.ports[port] = PortState(local, port, self.devices[-1])
            self.state.switch.plug(port, isolated)

    def unplug(self, port: str) -> None:
        if self.world.ports.pop(port, None) and self.state is not None:
            self.state.switch.unplug(port)

    def table(self, puts: bool, table: Table, mac: str, vtep: str) -> None:
        rows = tables.fdb([(mac, vtep)]) if table is Table.FDB else tables.flood([vtep])
        if self.state is not None:
            (self.state.put if puts else self.state.drop)(table, rows)

    def speaks(self, port: str, mac: str) -> None:
        if self.state is not None and port in self.world.ports:
            self.state.switch.from_port(port, _mac(BROADCAST) + _mac(mac) + bytes(50), self.now)

    def passes(self, seconds: float) -> None:
        self.now += seconds

    def expire(self) -> None:
        if self.state is not None:
            self.state.switch.expire(self.now)

    def breaks(self, port: str) -> None:
        if port in self.world.ports:
            device = cast(Device, self.world.ports[port].device)
            device.broken = not device.broken

    def forbids(self) -> None:
        """Members are others, as another thread changes them: after the table that tells them."""
        if self.state is not None:
            self.state.members = frozenset()

    def swaps(self, port: str) -> None:
        self.devices.append(Device())
        self.world.ports[port] = replace(self.world.ports[port], device=self.devices[-1])

    def comes(self, train: Train, vtep: str, tos: int, vni: int) -> None:
        data = b"".join(datagram if vni == 5000 else Vxlan(vni).encode() + datagram[8:] for datagram in train)
        self.wire.waiting.append((Arrival(len(data), len(train[0]), vtep, tos), data))
        self.ingress.drain(cast(Underlay, self.wire), cast(socket.socket, None), self.now)
        if not self.remembers:
            self.tallies.append(self.ingress.tally)
            self.ingress = Ingress(self.world)

    def seen(self) -> object:
        """All that can be seen of it."""
        counts = [Counter[object]() for _ in Tally.__slots__]
        for tally in (*self.tallies, self.ingress.tally):
            for count, name in zip(counts, Tally.__slots__, strict=True):
                count.update(getattr(tally, name))
        return [device.taken for device in self.devices], list(map(dict, counts)), self.learned


macs, vteps, ports = st.sampled_from([A, B, C]), st.sampled_from([MEMBER, OTHER]), st.sampled_from(PORTS)
segments = st.builds(
    replace,
    st.just(SEGMENT),
    mtu=st.sampled_from([1450, 1000]),
    learning=st.booleans(),
    arp=st.sampled_from([Arp.FLOOD, Arp.PROXY, Arp.SUPPRESS]),
    group=st.sampled_from([None, None, "239.1.1.1"]),
    members=st.sampled_from([None, (MEMBER,)]),
)
arrivals = st.tuples(
    st.just("comes"),
    st.sampled_from(POOL),
    st.sampled_from([MEMBER, MEMBER, MEMBER, OTHER, STRANGER, OWN]),
    st.sampled_from([0, 0, 0, 1, 2, 3]),
    st.sampled_from([5000, 5000, 5000, 5001]),
)
ordinary = st.tuples(st.just("comes"), st.sampled_from(POOL), st.just(MEMBER), st.just(0), st.just(5000))
changes = st.one_of(
    st.tuples(st.just("segment"), segments, st.booleans()),
    st.tuples(st.just("gone")),
    st.tuples(st.just("plug"), ports, st.booleans()),
    st.tuples(st.just("unplug"), ports),
    st.tuples(st.just("breaks"), ports),
    st.tuples(st.just("table"), st.booleans(), st.sampled_from([Table.FDB, Table.FLOOD]), macs, vteps),
    st.tuples(st.just("speaks"), ports, macs),
    st.tuples(st.just("passes"), st.sampled_from([1.0, 200.0, 400.0])),
    st.tuples(st.just("expire")),
)
START = [("table", True, Table.FLOOD, A, MEMBER), ("speaks", "left", B)]


def forward(remembers: bool, steps: Sequence[tuple[object, ...]]) -> Host:
    host = Host(remembers)
    for name, *arguments in [*START, *steps]:
        getattr(host, str(name))(*arguments)
        learned = host.state.switch.learned if host.state else {}
        host.learned.append({mac: replace(entry) for mac, entry in learned.items()})
    return host


@settings(deadline=None)
@given(st.lists(ordinary | ordinary | arrivals | changes, max_size=40))
def test_remembering_changes_nothing(steps: list[tuple[object, ...]]) -> None:
    assert forward(True, steps).seen() == forward(False, steps).seen()


def comes(*frames: bytes, vtep: str = MEMBER, tos: int = 0) -> tuple[object, ...]:
    """The arrival of a datagram, or of a train."""
    return ("comes", tuple(Vxlan(5000).encode() + frame for frame in frames), vtep, tos, 5000)


def uncut(frame: bytes, size: int) -> tuple[object, ...]:
    """The arrival of a frame that stands for many datagrams of UDP and that nobody has cut."""
    whole = Vxlan(5000).encode() + _unfinished(frame)
    return ("comes", tuple(whole[at : at + size] for at in range(0, len(whole), size)), MEMBER, 0, 5000)


def _sumless() -> bytes:
    """A datagram without checksum between hosts for whom the pseudo header's sum is that, too."""
    frame = bytearray(udp(b"short"))
    spare = sum(int.from_bytes(frame[at : at + 2], "big") for at in range(26, 34, 2)) + 17 + 13
    frame[28:30] = ((int.from_bytes(frame[28:30], "big") - spare) % 0xFFFF).to_bytes(2, "big")
    frame[40:42] = bytes(2)
    return bytes(frame)


SHORT, SUMLESS = udp(b"short"), _sumless()
ISOLATED = [
    ("segment", replace(SEGMENT, arp=Arp.PROXY), False),
    ("plug", "right", True),
    ("speaks", "right", B),
]
FRAGMENT = SHORT[:20] + b"\x20" + SHORT[21:]


@pytest.mark.parametrize(
    "then",
    [
        [("passes", 400.0)],
        [("passes", 1.0)],
        [("passes", 200.0), ("speaks", "left", B), comes(SHORT), ("passes", 200.0), ("expire",)],
        [("passes", 400.0), comes(SHORT), ("speaks", "left", B)],
        [("speaks", "right", B)],
        [("speaks", "left", A)],
        [("table", True, Table.FDB, A, MEMBER)],
        [("table", True, Table.FDB, B, OTHER)],
        [("table", False, Table.FLOOD, A, MEMBER)],
        [("table", True, Table.FLOOD, A, OTHER), comes(SHORT, vtep=OTHER)],
        [comes(SHORT, vtep=STRANGER)],
        [comes(SHORT, tos=3)],
        [comes(udp(bytes(1500)))],
        [comes(_unfinished(SHORT)), comes(_unfinished(SHORT)[:41])],
        [comes(_unfinished(SHORT))],
        [("breaks", "left"), comes(SHORT, SHORT, SHORT[:46])],
        [comes(SHORT, _unfinished(SHORT), SHORT), comes(_unfinished(SHORT), SHORT)],
        [comes(SHORT, SHORT, udp(b"other", dst=C), SHORT), comes(SHORT, SHORT[:41]), comes(SHORT, SHORT[:4])],
        [comes(udp(bytes(12)), udp(bytes(12)), tcp(b""), SHORT)],
        [("passes", 1.0), comes(udp(bytes(1500)), udp(bytes(1500)))],
        [uncut(udp(bytes(200)), 100), uncut(udp(bytes(192)), 100)],
        [comes(SUMLESS), comes(SUMLESS), comes(SUMLESS)],
        [comes(b""), comes(SHORT, b"")],
        [comes(echo(4, 1)), comes(echo(4, 2)), comes(echo(4, 3), echo(4, 4), SHORT), comes(echo(4, 5, bytes(1500)))],
        [comes(echo(6, 1)), comes(echo(6, 2)), comes(echo(6, 3), echo(6, 4), SHORT), comes(echo(6, 5)[:50])],
        [comes(FRAGMENT), comes(FRAGMENT), comes(_unfinished(SHORT)[:20] + b"\x20" + _unfinished(SHORT)[21:])],
        [("unplug", "left")],
        [("plug", "left", False), ("speaks", "left", B)],
        [("breaks", "left")],
        [("gone",)],
        [("swaps", "left")],
        [("forbids",)],
        [("segment", SEGMENT, True)],
        [("segment", replace(SEGMENT, mtu=40), False)],
        [*ISOLATED],
        [*ISOLATED, ("passes", 400.0), comes(SHORT), ("speaks", "right", B)],
    ],
)
def test_what_is_remembered_ends_with_its_reason(then: list[tuple[object, ...]]) -> None:
    steps = [comes(SHORT), comes(SHORT), *then, comes(SHORT)]
    assert forward(True, steps).seen() == forward(False, steps).seen()


def test_a_flow_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its second datagram does not take the slow path."""
    echoes = [(Vxlan(5000).encode() + echo(version),) for version in (4, 6)]
    for train in (POOL[0], *echoes, *[each for each in POOL if len(each) > 4][:2]):
        host, step = forward(True, []), ("comes", train, MEMBER, 0, 5000)
        host.comes(*step[1:])
        host.comes(*step[1:])  # the first one's MAC was new, which is a change
        with monkeypatch.context() as patch:
            patch.setattr(Ingress, "take", lambda *_: pytest.fail("the slow path"))
            host.comes(*step[1:])
        assert len(host.devices[0].taken) == 3


def test_strangers_put_nothing_in_and_flows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "FLOWS", 4)
    host = forward(True, [])
    held = host.ingress._flows._flows
    host.comes(POOL[0], STRANGER, 0, 5000)
    assert not held
    for number in range(20):
        frame = bytearray(POOL[0][0])
        frame[37] = number  # the low octet of the inner source
        host.comes((bytes(frame),), MEMBER, 0, 5000)
        assert len(held) <= 4
    assert held


@pytest.mark.parametrize("remembers", [True, False])
def test_a_train_longer_than_the_mtu_is_dropped_as_each_of_it_would_be(remembers: bool) -> None:
    host, train = forward(remembers, []), tuple(datagrams(tcp(bytes(480)), 100))
    for mtu, taken in ((140, 1), (139, 1), (140, 2)):
        host.segment(replace(SEGMENT, mtu=mtu))
        host.comes(train, MEMBER, 0, 5000)
        assert len(host.devices[0].taken) == taken
    drops = Counter[str]()
    for tally in (*host.tallies, host.ingress.tally):
        drops += tally.drops
    assert drops == {"oversized": 5}


def test_a_segment_that_is_gone_is_not_kept_in_memory() -> None:
    host = forward(True, [comes(SHORT), comes(SHORT)])
    assert host.state is not None
    assert host.ingress._flows._flows
    host.ingress.forget(host.state)
    assert not host.ingress._flows._flows
