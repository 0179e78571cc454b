"""What the kernel takes out of a captured frame is put back; what it lost is told."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from weft.lab.capture import Capture, Frame, _complete, save
from weft.model.errors import WeftError
from weft.wire import pcapng
from weft.wire.ethernet import Ethernet

FRAME = bytes.fromhex("02000000000b02000000000a0800") + bytes(50)
STAMP = (socket.SOL_SOCKET, 35, struct.pack("=qq", 12, 34))


def auxiliary(status: int, tci: int, tpid: int) -> tuple[int, int, bytes]:
    return (263, 8, struct.pack("=IIIHHHH", status, 64, 64, 0, 14, tci, tpid))


def test_a_vlan_tag_is_put_back() -> None:
    time, octets = _complete(FRAME, [STAMP, auxiliary(0x50, 0x2064, 0x88A8)])
    header, rest = Ethernet.decode(octets)
    assert time == 12_000_000_034
    assert (header.vid, header.ethertype, len(rest)) == (0x64, 0x0800, 50)
    assert octets[12:14] == b"\x88\xa8"
    assert _complete(FRAME, [auxiliary(0x10, 5, 0)])[1][12:16] == b"\x81\x00\x00\x05"


def test_a_frame_without_a_tag_stays_as_it_is() -> None:
    assert _complete(FRAME, [STAMP, auxiliary(1, 0, 0)])[1] == FRAME


def test_a_capture_with_gaps_judges_nothing() -> None:
    capture = Capture("x", {})
    capture.check()
    capture.fault = "3 frames were lost"
    with pytest.raises(WeftError, match="cannot be judged: 3 frames were lost"):
        capture.check()


def test_a_saved_capture_names_the_senders(tmp_path: Path) -> None:
    frames = [Frame(2_000_000_001, "h2", FRAME), Frame(2_000_000_002, "h1", FRAME + b"x")]
    save(tmp_path / "deep/step.pcapng", frames)
    found = pcapng.read((tmp_path / "deep/step.pcapng").read_bytes())
    names = [interface.name for interface in found.interfaces]
    back = [Frame(record.time, names[record.interface], record.frame) for record in found.records]
    assert back == frames
