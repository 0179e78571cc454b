"""Tables stand twice, as arrays and in the switch: whatever is put and dropped, both say the same."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from tests.l2.user.frames import HOSTS, A, B, udp
from weft.l2.user.rx.arrive import uncut
from weft.l2.user.rx.cut import cut
from weft.l2.user.underlay import Underlay
from weft.l2.user.vnet import GSO_UDP_L4, NEEDS_CSUM, Offload
from weft.l2.user.world import SegmentState
from weft.model.network import Arp, SegmentKey
from weft.plan import tables
from weft.plan.segment import Segment
from weft.plan.tables import Table
from weft.wire.checksum import PseudoHeader, checksum
from weft.wire.ethernet import IPV4, IPV6, Ethernet, Tag
from weft.wire.ipv4 import IPv4
from weft.wire.ipv6 import IPv6
from weft.wire.packet import dissect
from weft.wire.udp import Udp
from weft.wire.verify import wrong_checksums

SEGMENT = Segment(SegmentKey(4789, 5000), "blue", "192.168.33.12", 1450, False, 300, Arp.SUPPRESS)
_MACS = st.integers(0, 8).map(lambda n: f"02:00:00:00:00:{n:02x}")
_IPS = st.integers(0, 8).map(lambda n: f"10.1.1.{n}")
_VTEPS = st.integers(0, 4).map(lambda n: f"192.168.33.{n}" if n else "fd00::1")


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([Table.FDB, Table.NEIGHBORS, Table.FLOOD]), _MACS, _IPS, _VTEPS),
        max_size=40,
    )
)
def test_both_say_the_same(steps: list[tuple[bool, Table, str, str, str]]) -> None:
    state = SegmentState(SEGMENT, cast(Underlay, None))
    for puts, table, mac, ip, vtep in steps:
        rows = {
            Table.FDB: tables.fdb([(mac, vtep)]),
            Table.NEIGHBORS: tables.neighbors([(ip, mac)]),
            Table.FLOOD: tables.flood([vtep]),
        }[table]
        (state.put if puts else state.drop)(table, rows)
    static = {(mac.hex(":"), vtep) for mac, vtep in state.switch.static.items()}
    assert static == set(tables.text(Table.FDB, state.tables.fdb))
    assert set(state.switch.neighbors.items()) == set(tables.text(Table.NEIGHBORS, state.tables.neighbors))
    assert set(state.switch.flood) == {vtep for (vtep,) in tables.text(Table.FLOOD, state.tables.flood)}
    assert state.members == {vtep for _, vtep in static} | set(state.switch.flood)


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 1400))
def test_udp_trains_are_cut_into_right_datagrams(payload: bytes, size: int) -> None:
    frame = bytearray(udp(payload))
    frames = list(cut(memoryview(frame), Offload(NEEDS_CSUM, GSO_UDP_L4, 42, size, 34, 6)))
    packets = [dissect(bytes(each)) for each in frames]
    assert b"".join(packet.payload for packet in packets) == payload
    assert all(not packet.error and not wrong_checksums(packet) for packet in packets)
    assert {(packet.ip.src, packet.ip.dst) for packet in packets if packet.ip} == {HOSTS[4]}


@given(st.binary(min_size=14, max_size=100), st.integers(0, 100), st.integers(0, 100))
def test_offload_headers_that_lie_cut_nothing_wrong(frame: bytes, start: int, size: int) -> None:
    pieces = list(cut(memoryview(bytearray(frame)), Offload(1, GSO_UDP_L4, 0, size, start, 6)))
    assert len(pieces) <= len(frame)


@given(st.sampled_from([4, 6]), st.integers(1, 1300), st.integers(1, 3000), st.booleans())
def test_a_udp_frame_that_nobody_has_cut_is_known_by_its_length(v: int, size: int, octets: int, tagged: bool) -> None:
    src, dst = HOSTS[v]
    body = Udp(1000, 2000).encode(bytes(octets), PseudoHeader(src, dst))
    packet = IPv4(src, dst, 17).encode(body) if v == 4 else IPv6(src, dst, 17).encode(body)
    whole = bytearray(Ethernet(B, A, IPV4 if v == 4 else IPV6, (Tag(7),) if tagged else ()).encode(packet))
    udp_at = len(whole) - octets - 8
    unfinished = checksum(PseudoHeader(src, dst).encode(17, octets + 8)) ^ 0xFFFF
    whole[udp_at + 6 : udp_at + 8] = (unfinished ^ 0x0101).to_bytes(2, "big")
    assert uncut(memoryview(whole), size) is None, "its checksum is finished"
    whole[udp_at + 6 : udp_at + 8] = unfinished.to_bytes(2, "big")
    assert uncut(memoryview(whole + bytes(size)), size) is None, "more than it says"
    offload = uncut(memoryview(whole), size)
    assert offload is not None
    pieces = list(cut(memoryview(whole), offload))
    assert sum(len(dissect(bytes(piece)).payload) for piece in pieces) == octets
    assert {len(piece) - udp_at - 8 for piece in pieces[:-1]} <= {size}
    assert not any(wrong_checksums(dissect(bytes(piece))) for piece in pieces)


@given(st.binary(min_size=0, max_size=200), st.integers(1, 200))
def test_any_octets_are_a_train_or_not(octets: bytes, size: int) -> None:
    offload = uncut(memoryview(octets), size)
    assert offload is None or 14 + 20 + 8 <= offload.start + 8 <= len(octets)
