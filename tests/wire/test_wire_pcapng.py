"""Captures written and read: both formats, both byte orders, several clocks, and damage."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.wire import pcap, pcapng
from weft.wire.errors import WireError
from weft.wire.pcap import Capture, Interface, Record

INTERFACES = (Interface("eth1"), Interface("vx-5000", 1, 65535), Interface())
records = st.builds(
    lambda time, frame, index, more: Record(time, frame, index, len(frame) + more),
    *(st.integers(0, 2**64 - 1), st.binary(max_size=70), st.integers(0, 2), st.integers(0, 9)),
)


@given(st.lists(records, max_size=6))
def test_what_is_written_is_read(found: list[Record]) -> None:
    data = pcapng.write(INTERFACES, found)
    assert pcapng.read(data) == Capture(INTERFACES, tuple(found))


@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_damage_is_an_error_or_a_capture(found: list[Record], data: st.DataObject) -> None:
    whole = bytearray(pcapng.write(INTERFACES, found))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        capture = pcapng.read(cut)
    except WireError:
        capture = Capture((), ())
    assert len(capture.records) <= len(found)


def block(order: str, kind: int, body: bytes) -> bytes:
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("option", "ticks", "nanoseconds"),
    [
        (b"", 1_500_001, 1_500_001_000),  # no option: microseconds
        (b"\x09", 1_500_001, 1_500_001),
        (b"\x03", 1_500, 1_500_000_000),
        (b"\x8a", 1536, 1_500_000_000),  # 2**-10 s
    ],
)
def test_foreign_sections(order: str, option: bytes, ticks: int, nanoseconds: int) -> None:
    section = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    options = struct.pack(order + "HH", 9, 1) + option + bytes(3) if option else b""
    offset = struct.pack(order + "HHq", 14, 8, 2)
    interface = block(order, 1, struct.pack(order + "HHI", 1, 0, 4) + options + offset)
    enhanced = block(order, 6, struct.pack(order + "IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, 3, 9) + b"abc\0")
    simple = block(order, 3, struct.pack(order + "I", 9) + b"wxyz")
    unknown = block(order, 0x40000BAD, b"1234")
    data = (section + interface + unknown + enhanced + simple) * 2
    capture = pcapng.read(data)
    first = Record(nanoseconds + 2_000_000_000, b"abc", 0, 9)
    assert capture.records[:2] == (first, Record(0, b"wxyz", 0, 9))
    assert [record.interface for record in capture.records] == [0, 0, 1, 1]
    assert capture.records[0].truncated
    assert len(capture.interfaces) == 2


@pytest.mark.parametrize(
    ("magic", "order", "unit"),
    [(0xA1B2C3D4, "<", 1000), (0xA1B2C3D4, ">", 1000), (0xA1B23C4D, "<", 1), (0xA1B23C4D, ">", 1)],
)
def test_classic_files(magic: int, order: str, unit: int) -> None:
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, 1)
    data = head + struct.pack(order + "IIII", 1_700_000_000, 12, 3, 60) + b"abc"
    assert pcapng.read(data) == pcap.read(data)
    assert pcap.read(data).records == (Record(1_700_000_000_000_000_000 + 12 * unit, b"abc", 0, 60),)
    with pytest.raises(WireError, match="truncated"):
        pcap.read(data[:-1])


def test_refusals() -> None:
    with pytest.raises(WireError, match="not with a section header"):
        pcapng.read(b"\0" * 40)
    with pytest.raises(WireError, match="interface 0 was not introduced"):
        pcapng.read(pcapng.section() + pcapng.packet(Record(0, b"x")))
    with pytest.raises(WireError, match="original length 1 is below the 2 bytes captured"):
        pcapng.packet(Record(0, b"xy", original_length=1))
    with pytest.raises(WireError, match="time -1 does not fit 64 bits"):
        pcapng.packet(Record(-1, b"xy"))
