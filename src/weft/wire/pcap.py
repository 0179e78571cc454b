"""Captures as values, and the classic pcap format for reading (draft-ietf-opsawg-pcap; nanosecond magic included).

`pcapng` is what we write; its `read` takes either format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from weft.wire.errors import WireError, need

ETHERNET = 1
RAW_IP = 101

_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}


@dataclass(frozen=True, slots=True)
class Interface:
    """Where packets were seen: its name (may be empty), the link type (IANA) and the snap length (0: no limit)."""

    name: str = ""
    link_type: int = ETHERNET
    snap_length: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One captured packet: nanoseconds since 1970 (UTC), its bytes, the interface's index, and its length on the wire.

    `original_length` 0 stands for "all of it is here".
    """

    time: int
    frame: bytes
    interface: int = 0
    original_length: int = 0

    @property
    def truncated(self) -> bool:
        """True if the capture holds less than was on the wire."""
        return self.original_length > len(self.frame)


@dataclass(frozen=True, slots=True)
class Capture:
    """A whole capture; records in the file's order, which need not be that of time."""

    interfaces: tuple[Interface, ...]
    records: tuple[Record, ...]


def is_pcap(data: bytes) -> bool:
    """Whether `data` begins like a classic pcap file."""
    return data[:4] in _MAGICS


def read(data: bytes) -> Capture:
    """A classic pcap file; raises WireError where it is damaged or cut."""
    need("pcap", data, 24)
    if not is_pcap(data):
        raise WireError("pcap", 0, f"magic {data[:4].hex()} is not pcap's")
    order, unit = _MAGICS[data[:4]]
    snap_length, link = struct.unpack_from(order + "II", data, 16)
    records = []
    at = 24
    while at < len(data):
        need("pcap", data, 16, at)
        seconds, fraction, size, original = struct.unpack_from(order + "IIII", data, at)
        need("pcap", data, size, at + 16)
        frame = data[at + 16 : at + 16 + size]
        records.append(Record(seconds * 1_000_000_000 + fraction * unit, frame, 0, original))
        at += 16 + size
    # The upper half of the link type may speak of a frame check sequence, which is not ours to judge.
    return Capture((Interface("", link & 0xFFFF, snap_length),), tuple(records))
