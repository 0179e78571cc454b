"""tshark decodes every capture, and every frame we build, as our codecs do: field by field."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.tshark import comparable, judged, ours
from tests.wire.wire_frames import CAPTURES, built_frames, frames_of, zero_sum
from weft.wire import pcapng
from weft.wire.packet import dissect
from weft.wire.pcap import Interface, Record
from weft.wire.verify import wrong_checksums

pytestmark = pytest.mark.system


def test_captures_decode_as_tshark_decodes_them() -> None:
    compared = 0
    for path in CAPTURES:
        frames, expected = frames_of(path), judged(path)
        assert len(frames) == len(expected) > 0
        for frame, layers in zip(frames, expected, strict=True):
            assert comparable(ours(dissect(frame))) == comparable(layers)
            compared += sum(len(fields) for _, fields in layers)
    assert compared > 3000


def test_built_frames_decode_as_tshark_decodes_them(tmp_path: Path) -> None:
    frames = [*built_frames(), zero_sum(twin=False), zero_sum(twin=True)]
    records = [Record(number, frame) for number, frame in enumerate(frames)]
    path = tmp_path / "built.pcapng"
    path.write_bytes(pcapng.write([Interface("eth1")], records))
    for frame, layers in zip(frames, judged(path), strict=True):
        packet = dissect(frame)
        assert packet.error == ""
        assert wrong_checksums(packet) == ()
        assert comparable(ours(packet)) == comparable(layers)


def test_tshark_reads_our_names_and_nanoseconds(tmp_path: Path) -> None:
    frame = built_frames()[0]
    records = [Record(1_700_000_000_123_456_789, frame, 1), Record(2**63 + 1, frame, 0, len(frame) + 5)]
    path = tmp_path / "two.pcapng"
    path.write_bytes(pcapng.write([Interface("eth1"), Interface("vx-5000", snap_length=262144)], records))
    fields = ("frame.interface_name", "frame.time_epoch", "frame.len", "frame.cap_len")
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", *(part for each in fields for part in ("-e", each))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    size = len(frame)
    assert done.stdout.splitlines() == [
        f"vx-5000\t1700000000.123456789\t{size}\t{size}",
        f"eth1\t9223372036.854775809\t{size + 5}\t{size}",
    ]
