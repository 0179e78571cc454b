"""Merging is the inverse of splitting, and never joins what does not belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.l2.user.frames import tcp
from tests.l2.user.tx.test_split import datagrams
from weft.l2.user import vnet
from weft.l2.user.rx.layout import layout
from weft.l2.user.rx.merge import Train, merged, train
from weft.l2.user.rx.stream import BUFFER, LEAD, Streams
from weft.l2.user.tx.split import finish
from weft.wire.checksum import checksum
from weft.wire.packet import dissect
from weft.wire.verify import wrong_checksums


def read(parts: list[bytes]) -> Train:
    """Datagrams of one size (the last maybe shorter) as the kernel would hand them over."""
    size = len(parts[0])
    octets = np.frombuffer(b"".join(part.ljust(size, b"\xee") for part in parts), np.uint8).reshape(-1, size)
    shape = layout(parts[0])
    assert shape is not None
    return train(octets.copy(), np.array([len(part) for part in parts], np.int64), shape)


def frames(found: Train) -> list[tuple[vnet.Offload, bytes]]:
    """Those of many segments, as a NIC would finish them."""
    made = []
    for run in found.runs:
        if run.end - run.first > 1:
            out = memoryview(bytearray(70000))
            packet = bytes(out[: merged(found, run, out)])
            offload, frame = vnet.decode(packet), bytearray(packet[vnet.SIZE :])
            assert offload.flags == vnet.NEEDS_CSUM
            assert finish(memoryview(frame), offload)
            made.append((offload, bytes(frame)))
    return made


@given(
    payload=st.binary(min_size=60, max_size=5000),
    mss=st.integers(30, 1448),
    version=st.sampled_from([4, 6]),
    flags=st.sampled_from([0x10, 0x18]),
    sequence=st.integers(0, 2**32 - 1),
    options=st.sampled_from([b"", bytes(12)]),
)
def test_split_then_merge_gives_the_frame_back(
    payload: bytes, mss: int, version: int, flags: int, sequence: int, options: bytes
) -> None:
    frame = tcp(payload, version=version, flags=flags, sequence=sequence, options=options)
    parts = datagrams(frame, mss)
    if len(parts) < 2 or len(parts[-1]) < 94:
        return
    ((offload, back),) = frames(read(parts))
    assert back == frame
    assert offload.size == mss
    assert offload.gso == (vnet.GSO_TCPV4 if version == 4 else vnet.GSO_TCPV6)


@given(st.data())
def test_damage_stays_visible(data: st.DataObject) -> None:
    """A segment of which a bit changed on the way is left alone, and so is its checksum."""
    parts = [bytearray(part) for part in datagrams(tcp(bytes(range(200)) * 5), data.draw(st.sampled_from([99, 100])))]
    index = data.draw(st.integers(0, len(parts) - 1))
    at = data.draw(st.integers(8, len(parts[index]) - 1))
    parts[index][at] ^= 1 << data.draw(st.integers(0, 7))
    whole = [bytes(part) for part in parts]
    if layout(whole[0]) is None:
        return  # not taken for TCP at all: every datagram is delivered as it came
    assert index in [run.first for run in read(whole).runs if run.end - run.first == 1]
    assert glances(whole) == []


def test_damage_of_two_segments_that_is_even_in_sum_stays_visible() -> None:
    parts = [bytearray(part) for part in datagrams(tcp(bytes(range(200)) * 5), 100)]
    parts[2][80] += 4
    parts[3][80] -= 4
    whole = [bytes(part) for part in parts]
    assert [run.first for run in read(whole).runs if run.end - run.first == 1] == [2, 3]
    assert glances(whole) == []


def glances(parts: list[bytes]) -> list[bytes]:
    """The packets that a train is seen to be at a glance, offload header first."""
    buffer, data = memoryview(bytearray(b"\xee" * BUFFER)), b"".join(parts)
    buffer[LEAD : LEAD + len(data)] = data
    found = Streams(buffer).stream(len(data), len(parts[0]))
    made = [b"".join((pieces.offload, pieces.header, *pieces.payload)) for pieces in found]
    assert [pieces.octets for pieces in found] == [len(packet) - vnet.SIZE for packet in made]
    assert sum(pieces.datagrams for pieces in found) in (0, len(parts))
    return made


def glance(parts: list[bytes]) -> bytes | None:
    """The one packet of `glances`."""
    made = glances(parts)
    assert len(made) < 2
    return made[0] if made else None


def searched(parts: list[bytes]) -> list[bytes]:
    """The packets that are found in a train, offload header first."""
    found, out, made = read(parts), memoryview(bytearray(70000)), []
    for run in found.runs:
        one = run.end - run.first == 1
        made.append(vnet.PLAIN + parts[run.first][8:] if one else bytes(out[: merged(found, run, out)]))
    return made


@given(st.data())
def test_the_quick_look_and_the_search_agree(data: st.DataObject) -> None:
    version, options = data.draw(st.sampled_from([4, 6])), data.draw(st.sampled_from([b"", bytes(12)]))
    flags, mss = data.draw(st.sampled_from([0x10, 0x18, 0x11])), data.draw(st.sampled_from([99, 100, 1398]))
    payload = bytes(range(256)) * data.draw(st.integers(2, 10))
    sequence, ident = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.integers(0, 0xFFFF))
    frame = tcp(payload, version=version, flags=flags, options=options, sequence=sequence, ident=ident)
    parts = [bytearray(part) for part in datagrams(frame, mss)]
    for _ in range(data.draw(st.integers(0, 2))):
        index = data.draw(st.integers(0, len(parts) - 1))
        parts[index][data.draw(st.integers(8, min(len(parts[index]), 100) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    whole = [bytes(part) for part in parts]
    shape = layout(whole[0])
    if shape is None or len(whole[-1]) <= shape.payload:
        assert glance(whole) is None
        return
    if made := glances(whole):
        assert made == searched(whole)


@given(st.data())
def test_frames_of_one_stream_in_one_train_are_seen_at_a_glance(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([4, 6]))
    parts: list[bytes] = []
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    for number, count in enumerate(lengths):
        payload = bytes(100 * count - data.draw(st.integers(0, 60)) * (number == len(lengths) - 1))
        if not number and count == 1:
            payload = bytes(100)
        options = bytes((1, 1, 8, 10, 0, 0, 0, data.draw(st.integers(0, 1)), 0, 0, 0, 0))
        flags = data.draw(st.sampled_from([0x10, 0x18]))
        at = len(parts)
        frame = tcp(payload, version=version, flags=flags, options=options, sequence=1000 + 100 * at, ident=9 + at)
        parts += datagrams(frame, 100)
    made = glances(parts)
    assert (made == []) == (len(parts) == 1)
    assert made in ([], searched(parts))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("other", [{"ports": (1, 2)}, {"flags": 0x11}, {"tos": 4}, {"sequence": 9}])
def test_frames_of_two_streams_are_left_to_the_search(version: int, other: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"version": version, "flags": 0x10, "sequence": 1200, "ident": 11}
    parts = datagrams(tcp(bytes(200), version=version, sequence=1000, ident=9, flags=0x10), 100)
    assert glances(parts + datagrams(tcp(bytes(200), **fields), 100))
    assert not glances(parts + datagrams(tcp(bytes(200), **{**fields, **other}), 100))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("payload", "flags"), [(5000, 0x18), (5592, 0x10)])
def test_an_ordinary_train_is_seen_at_a_glance(version: int, payload: int, flags: int) -> None:
    assert glance(datagrams(tcp(bytes(payload), version=version, flags=flags), 1398)) is not None


@pytest.mark.parametrize(("counts", "dont_fragment"), [(True, False), (True, True), (False, True), (False, False)])
def test_identifications_may_stand_still_where_nothing_is_fragmented(counts: bool, dont_fragment: bool) -> None:
    parts = []
    for index in range(3):
        ident = 9 + counts * index
        frame = tcp(bytes(100), sequence=1000 + 100 * index, ident=ident, dont_fragment=dont_fragment)
        parts += datagrams(frame, 100)
    made, found = glance(parts), read(parts)
    assert (made is not None) == (len(found.runs) == 1) == (counts or dont_fragment)
    if made is not None:
        out = memoryview(bytearray(70000))
        assert made == bytes(out[: merged(found, found.runs[0], out)])


@pytest.mark.parametrize(
    ("version", "sequence", "ident"),
    [(4, 2**32 - 101, 7), (6, 2**32 - 101, 7), (4, 1000, 0xFFFE), (4, 1000, 0x2453)],  # the last: a checksum of 1
)
def test_nothing_carries_into_the_field_before(version: int, sequence: int, ident: int) -> None:
    """Headers that count on only where two fields are taken for one number."""
    first = datagrams(tcp(bytes(300), version=version, sequence=sequence, ident=ident), 100)[0]
    counting = {26: (2, 1), 32: (2, -1), 46: (4, 100)} if version == 4 else {66: (4, 100)}  # field: its size, its step
    parts = []
    for index in range(3):
        part = first
        for at, (size, step) in counting.items():
            value = int.from_bytes(first[at - 2 : at + size], "big") + index * step
            part = part[: at - 2] + value.to_bytes(2 + size, "big") + part[at + size :]
        parts.append(part)
    assert glance(parts) is None


def test_flows_and_gaps_end_a_run() -> None:
    one, other = datagrams(tcp(bytes(400)), 100), datagrams(tcp(bytes(400), ports=(1, 2)), 100)
    spans = [(run.first, run.end) for run in read([*one, *other]).runs]
    assert spans == [(0, 4), (4, 8)]
    spans = [(run.first, run.end) for run in read([one[0], one[1], one[3]]).runs]
    assert spans == [(0, 2), (2, 3)]
    assert len(read([one[0], other[0], one[1], other[1]]).runs) == 4
    assert len(read([one[1], one[0]]).runs) == 2


def test_vnis_never_mix() -> None:
    parts = datagrams(tcp(bytes(400)), 100)
    strange = parts[1][:6] + bytes((parts[1][6] ^ 1,)) + parts[1][7:]
    assert [(run.first, run.end) for run in read([parts[0], strange, *parts[2:]]).runs] == [(0, 1), (1, 2), (2, 4)]


@pytest.mark.parametrize("flags", [0x11, 0x12, 0x14, 0x30, 0x90])
def test_segments_with_a_message_of_their_own_stay_alone(flags: int) -> None:
    first, second = datagrams(tcp(bytes(200)), 100)
    odd = datagrams(tcp(bytes(100), flags=flags, sequence=1100), 100)[0]
    assert len(read([first, odd]).runs) == 2
    assert len(read([first, second]).runs) == 1


def test_a_push_ends_a_run_and_is_kept() -> None:
    first, second = datagrams(tcp(bytes(200), flags=0x18), 100)
    third = datagrams(tcp(bytes(100), sequence=1200), 100)[0]
    found = read([first, second, third])
    assert [(run.first, run.end) for run in found.runs] == [(0, 2), (2, 3)]
    assert frames(found)[0][1][47] == 0x18


def test_identifications_count_where_fragments_are_allowed() -> None:
    parts = [datagrams(tcp(bytes(100), sequence=1000 + 100 * i, ident=9, dont_fragment=False), 100)[0] for i in (0, 1)]
    assert len(read(parts).runs) == 2
    assert len(read(datagrams(tcp(bytes(200), dont_fragment=False), 100)).runs) == 1


def test_unfinished_checksums_stay_unfinished() -> None:
    parts = []
    for part in datagrams(tcp(bytes(range(100)) * 3), 100):
        packet = dissect(part[8:])
        assert packet.ip is not None

        pseudo = checksum(packet.ip.pseudo().encode(6, len(part) - 42)) ^ 0xFFFF
        parts.append(part[:58] + pseudo.to_bytes(2, "big") + part[60:])
    ((offload, frame),) = frames(read(parts))
    assert (offload.start, offload.offset) == (34, 16)
    assert wrong_checksums(dissect(frame)) == ()


def test_what_is_not_laid_out_as_the_first_one_is_not_merged() -> None:
    """Datagrams of UDP with a payload that looks like TCP's header."""
    first, second, third = datagrams(tcp(bytes(300)), 100)

    def disguised(part: bytes) -> bytes:
        changed = bytearray(part)
        changed[8 + 14 + 9] = 17
        changed[8 + 14 + 10 : 8 + 14 + 12] = (int.from_bytes(part[32:34], "big") - 11).to_bytes(2, "big")
        return bytes(changed)

    assert [run.end - run.first for run in read([first, disguised(second), disguised(third)]).runs] == [1, 1, 1]


@pytest.mark.parametrize("offset", [1, 0xFF, 0x100, 0x2000])
def test_fragments_are_no_tcp(offset: int) -> None:
    part = bytearray(datagrams(tcp(bytes(100)), 100)[0])
    part[8 + 14 + 6 : 8 + 14 + 8] = offset.to_bytes(2, "big")
    assert layout(part) is None


@given(st.binary(max_size=150))
def test_layout_takes_anything(data: bytes) -> None:
    shape = layout(data)
    assert shape is None or 62 <= shape.payload <= len(data)


@pytest.mark.parametrize("version", [4, 6])
def test_streams_of_two_hosts_in_one_train_keep_their_checksums(version: int) -> None:
    parts = []
    for last in (2, 77):
        stream = [bytearray(part) for part in datagrams(tcp(bytes(range(200)), version=version), 100)]
        for part in stream:
            _from(part, version, last)
        parts += [bytes(part) for part in stream]
    made = frames(read(parts))
    assert len(made) == 2
    assert [wrong_checksums(dissect(frame)) for _, frame in made] == [(), ()]


def _from(datagram: bytearray, version: int, last: int) -> None:
    """Another last octet of the source address, checksums right."""
    at, fields = (37, (32, 58)) if version == 4 else (45, (78,))
    changed = last - datagram[at]
    datagram[at] = last
    for field in fields:
        value = (int.from_bytes(datagram[field : field + 2], "big") - changed) % 0xFFFF
        datagram[field : field + 2] = value.to_bytes(2, "big")
