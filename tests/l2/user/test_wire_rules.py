"""RFC 6040's table, source-port entropy, and what is made of single frames out of tunnels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.l2.user.frames import HOSTS, offloaded, tcp, udp
from weft.l2.user import ecn, vnet
from weft.l2.user.rx.arrive import delivery
from weft.l2.user.tx.entropy import flow_hash
from weft.wire.checksum import checksum
from weft.wire.ethernet import Tag
from weft.wire.packet import dissect
from weft.wire.verify import wrong_checksums


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("inner", range(4))
@pytest.mark.parametrize("outer", range(4))
@pytest.mark.parametrize("tags", [(), (Tag(7),), (Tag(9, tpid=0x88A8), Tag(7))])
def test_rfc_6040_figure_4(version: int, inner: int, outer: int, tags: tuple[Tag, ...]) -> None:
    names = {ecn.NOT_ECT: "not", ecn.ECT_0: "0", ecn.ECT_1: "1", ecn.CE: "ce"}
    table = {"not": "not not not drop", "0": "0 0 1 ce", "1": "1 1 1 ce", "ce": "ce ce ce ce"}
    wanted = table[names[inner]].split()[["not", "0", "1", "ce"].index(names[outer])]
    frame = bytearray(tcp(b"x", version=version, tos=0xB8 | inner, tags=tags))
    assert ecn.mark(frame) == inner
    kept = ecn.arrive(frame, outer)
    assert kept == (wanted != "drop")
    if kept:
        assert names[ecn.mark(frame)] == wanted
        assert wrong_checksums(dissect(bytes(frame))) == ()


def test_a_mark_repairs_no_damaged_header() -> None:
    frame = bytearray(tcp(b"x", tos=ecn.ECT_0))
    frame[22] ^= 0x40  # TTL
    assert ecn.arrive(frame, ecn.CE)
    assert ecn.mark(frame) == ecn.CE
    assert wrong_checksums(dissect(bytes(frame))) == ("ipv4",)


@given(st.binary(min_size=14, max_size=60), st.integers(0, 255))
def test_marks_of_anything(frame: bytes, outer: int) -> None:
    assert ecn.arrive(bytearray(frame), outer) in (True, False)
    assert 0 <= flow_hash(frame) < 2**32


def test_one_flow_one_port() -> None:
    for version in HOSTS:
        one = {flow_hash(tcp(bytes([i]) * i, version=version, sequence=i)) for i in range(50)}
        many = {flow_hash(tcp(b"", version=version, ports=(i, 80))) % 16 for i in range(200)}
        assert len(one) == 1
        assert len(many) == 16


def test_fragments_of_a_packet_take_one_port() -> None:
    whole = bytearray(udp(b"data" * 10))
    first, second = bytearray(whole), bytearray(whole)
    first[20] = 0x20
    second[21] = 5
    second[34:38] = b"zzzz"
    assert flow_hash(first) == flow_hash(second)


def unfinished(frame: bytes) -> bytearray:
    packet = dissect(frame)
    assert packet.ip is not None
    inner = packet.inner or packet
    header, at = (6, 16) if inner.tcp else (17, 6)
    assert packet.ethernet is not None
    start = packet.ethernet.header_length + packet.ip.header_length
    value = checksum(packet.ip.pseudo().encode(header, len(frame) - start)) ^ 0xFFFF
    changed = bytearray(frame)
    changed[start + at : start + at + 2] = value.to_bytes(2, "big")
    return changed


@pytest.mark.parametrize("tags", [(), (Tag(7),)])
@pytest.mark.parametrize("version", [4, 6])
def test_an_unfinished_checksum_is_told(version: int, tags: tuple[Tag, ...]) -> None:
    frame = tcp(b"hello", version=version, tags=tags)
    _, whole = offloaded(frame, 0)
    assert delivery(memoryview(bytearray(frame)), 1464) == vnet.PLAIN
    header = delivery(memoryview(unfinished(frame)), 1464)
    assert header == vnet.Offload(vnet.NEEDS_CSUM, start=whole.start, offset=16).encode()


def test_a_neighbor_kernel_s_uncut_frame_is_taken_as_one() -> None:
    frame = unfinished(tcp(bytes(10000), options=bytes(12)))
    header = delivery(memoryview(frame), 1464)
    assert header is not None
    assert vnet.decode(header) == vnet.Offload(vnet.NEEDS_CSUM, vnet.GSO_TCPV4, 66, 1398, 34, 16)


@pytest.mark.parametrize("options", [b"\x06\x00\x01\x04" + bytes(4), b"\x3c\x00" + bytes(6) + b"\x06\x01" + bytes(14)])
def test_an_unfinished_checksum_behind_ipv6_options_is_told(options: bytes) -> None:
    frame = unfinished(tcp(bytes(5000), version=6))
    length = int.from_bytes(frame[18:20], "big") + len(options)
    frame[18:21] = length.to_bytes(2, "big") + b"\x00"  # for each hop
    frame[54:54] = options
    at = 54 + len(options)
    header = delivery(memoryview(frame), 1464)
    assert header is not None
    mss = 1464 - at - 20
    assert vnet.decode(header) == vnet.Offload(vnet.NEEDS_CSUM, vnet.GSO_TCPV6, at + 20, mss, at, 16)


def test_what_is_too_long_stays_outside() -> None:
    assert delivery(memoryview(bytearray(tcp(bytes(1500)))), 1464) is None
    assert delivery(memoryview(bytearray(udp(bytes(1500)))), 1464) is None
    assert delivery(memoryview(bytearray(1464)), 1464) == vnet.PLAIN
    assert delivery(memoryview(bytearray(1465)), 1464) is None


@given(st.binary(min_size=14, max_size=120), st.integers(14, 100))
def test_delivery_takes_anything(frame: bytes, longest: int) -> None:
    header = delivery(memoryview(bytearray(frame)), longest)
    assert header is None or len(header) == vnet.SIZE
