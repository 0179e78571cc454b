"""Segmentation: whatever goes in comes out as packets that weft.wire finds right to the last bit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.l2.user.frames import HOSTS, A, B, offloaded, split, tcp, udp
from weft.l2.user import vnet
from weft.l2.user.rx.cut import cut
from weft.l2.user.tx.split import SEGMENTS_MAX, finish
from weft.l2.user.tx.split_udp import split_udp
from weft.l2.user.vnet import Offload
from weft.wire.checksum import PseudoHeader, checksum
from weft.wire.ethernet import IPV4, IPV6, Ethernet, Tag
from weft.wire.ipv4 import IPv4
from weft.wire.ipv6 import IPv6
from weft.wire.packet import Packet, dissect
from weft.wire.udp import Udp
from weft.wire.verify import wrong_checksums
from weft.wire.vxlan import Vxlan

HEADER = Vxlan(5000).encode()


def datagrams(frame: bytes, mss: int) -> list[bytes]:
    big, offload = offloaded(frame, mss)
    train = split(memoryview(big), offload, HEADER)
    assert train is not None
    data = train.data.tobytes()
    assert train.segments == max(1, -(-len(data) // train.size))
    return [data[at : at + train.size] for at in range(0, len(data), train.size)]


def packets(frame: bytes, mss: int) -> list[Packet]:
    found = []
    for datagram in datagrams(frame, mss):
        header, inner = Vxlan.decode(datagram)
        assert header.vni == 5000
        packet = dissect(inner)
        assert not packet.error
        assert wrong_checksums(packet) == ()
        found.append(packet)
    return found


@given(
    payload=st.binary(min_size=1, max_size=5000),
    mss=st.integers(10, 1448),
    version=st.sampled_from([4, 6]),
    flags=st.sampled_from([0x10, 0x18, 0x19, 0x90]),
    sequence=st.integers(0, 2**32 - 1),
    options=st.sampled_from([b"", bytes(12)]),
    ident=st.integers(0, 65535),
    tagged=st.booleans(),
)
def test_every_segment_is_right(
    payload: bytes, mss: int, version: int, flags: int, sequence: int, options: bytes, ident: int, tagged: bool
) -> None:
    tags = (Tag(10),) if tagged else ()
    frame = tcp(payload, version=version, flags=flags, sequence=sequence, options=options, tags=tags, ident=ident)
    found = packets(frame, mss)
    assert b"".join(packet.payload for packet in found) == payload
    assert all(len(packet.payload) == mss for packet in found[:-1])
    for index, packet in enumerate(found):
        assert packet.tcp is not None
        assert packet.tcp.seq == (sequence + index * mss) % 2**32
        first, last = index == 0, index == len(found) - 1
        wanted = flags & ~(0 if first else 0x80) & ~(0 if last else 0x09)
        assert packet.tcp.flags == wanted
        if isinstance(packet.ip, IPv4):
            assert packet.ip.identification == (ident + index) % 65536


def test_a_whole_64_kib_frame_is_one_train() -> None:
    payload = bytes(range(256)) * 240
    found = packets(tcp(payload, options=bytes(12)), 1398)
    assert len(found) == 44
    assert b"".join(packet.payload for packet in found) == payload


@given(
    frame=st.binary(max_size=200), offload=st.builds(Offload, *[st.integers(0, 255)] * 2, *[st.integers(0, 200)] * 4)
)
def test_headers_that_lie_are_refused(frame: bytes, offload: Offload) -> None:
    train = split(memoryview(bytearray(frame)), offload, HEADER)
    assert train is None or train.segments <= SEGMENTS_MAX


@pytest.mark.parametrize("version", [4, 6])
def test_big_frames_of_a_tunnel_are_refused(version: int) -> None:
    """Whose inner headers would have to be cut with the rest: what the offload header tells of them is not enough."""
    inner, (src, dst) = tcp(bytes(3000), version=version), HOSTS[version]
    body = Udp(1000, 4789).encode(HEADER + inner, PseudoHeader(src, dst))
    packet = IPv4(src, dst, 17).encode(body) if version == 4 else IPv6(src, dst, 17).encode(body)
    outer = Ethernet(B, A, IPV4 if version == 4 else IPV6).encode(packet)
    start = len(outer) - len(inner) + (34 if version == 4 else 54)
    kind = vnet.GSO_TCPV4 if version == 4 else vnet.GSO_TCPV6
    lie = Offload(vnet.NEEDS_CSUM, kind, start + 20, 1000, start, 16)
    assert split(memoryview(bytearray(outer)), lie, HEADER) is None
    assert split_udp(memoryview(bytearray(outer)), Offload(1, vnet.GSO_UDP_L4, 0, 1000, start, 6), HEADER) is None


def test_too_many_segments_are_refused() -> None:
    big, offload = offloaded(tcp(bytes(60000)), 1)
    assert split(memoryview(big), offload, HEADER) is None


@given(st.binary(max_size=200))
def test_a_single_checksum_is_finished(payload: bytes) -> None:
    frame = bytearray(udp(payload))
    right = bytes(frame)
    packet = dissect(right)
    assert packet.ip is not None
    pseudo = packet.ip.pseudo().encode(17, 8 + len(payload))

    frame[40:42] = (checksum(pseudo) ^ 0xFFFF).to_bytes(2, "big")
    assert finish(memoryview(frame), Offload(vnet.NEEDS_CSUM, start=34, offset=6))
    assert bytes(frame) == right


def test_a_checksum_outside_of_the_frame_is_refused() -> None:
    frame = memoryview(bytearray(40))
    assert not finish(frame, Offload(vnet.NEEDS_CSUM, start=34, offset=16))
    assert not finish(frame, Offload(vnet.NEEDS_CSUM, start=0, offset=6))


@given(
    payload=st.binary(min_size=1, max_size=5000),
    size=st.integers(1, 1448),
    version=st.sampled_from([4, 6]),
    ident=st.integers(0, 65535),
    tagged=st.booleans(),
)
def test_every_udp_datagram_is_right(payload: bytes, size: int, version: int, ident: int, tagged: bool) -> None:
    src, dst = HOSTS[version]
    body = Udp(1000, 2000).encode(payload, PseudoHeader(src, dst))
    packet = IPv4(src, dst, 17, identification=ident).encode(body) if version == 4 else IPv6(src, dst, 17).encode(body)
    frame = Ethernet(B, A, IPV4 if version == 4 else IPV6, (Tag(10),) if tagged else ()).encode(packet)
    offload = Offload(vnet.NEEDS_CSUM, vnet.GSO_UDP_L4, 0, size, len(frame) - len(payload) - 8, 6)
    made = split_udp(memoryview(frame), offload, HEADER)
    if -(-len(payload) // size) > SEGMENTS_MAX:
        assert made is None
        return
    assert made is not None
    data = made.data.tobytes()
    pieces = [data[at : at + made.size] for at in range(0, len(data), made.size)]
    assert pieces == [HEADER + bytes(one) for one in cut(memoryview(bytearray(frame)), offload)]
    found = [dissect(piece[8:]) for piece in pieces]
    assert b"".join(each.payload for each in found) == payload
    assert not any(wrong_checksums(each) or each.error for each in found)


@given(st.binary(min_size=0, max_size=100), st.integers(0, 100), st.integers(0, 100))
def test_udp_offload_headers_that_lie_are_refused(frame: bytes, start: int, size: int) -> None:
    made = split_udp(memoryview(frame), Offload(1, vnet.GSO_UDP_L4, 0, size, start, 6), HEADER)
    assert made is None or len(made.data) <= 200 * (len(frame) + len(HEADER))
