"""pcapng captures: blocks written, files of either byte order read (draft-ietf-opsawg-pcapng).

Written: one section, little-endian; an interface block per interface with its name and `if_tsresol` 9, so that
timestamps are nanoseconds; enhanced packet blocks. Blocks can be appended as packets come in:

    section() + interface(Interface("eth1")) + packet(record) + …

Read: any number of sections; enhanced and simple packet blocks; all others are stepped over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from weft.wire import pcap
from weft.wire.errors import WireError, fits, need
from weft.wire.pcap import Capture, Interface, Record

_SECTION = 0x0A0D0D0A
_INTERFACE = 1
_SIMPLE = 3
_ENHANCED = 6
_MAGIC = 0x1A2B3C4D
_IF_NAME, _IF_TSRESOL, _IF_TSOFFSET = 2, 9, 14


def section() -> bytes:
    """The block every file starts with; the section's length is left open, so that blocks can be appended."""
    return _block(_SECTION, struct.pack("<IHHq", _MAGIC, 1, 0, -1))


def interface(value: Interface) -> bytes:
    """An interface block; the first in a file is index 0."""
    name = value.name.encode()
    body = struct.pack(
        "<HHI",
        fits("pcapng", 8, "link type", value.link_type, 16),
        0,
        fits("pcapng", 12, "snap length", value.snap_length, 32),
    )
    options = _option(_IF_NAME, name) if name else b""
    return _block(_INTERFACE, body + options + _option(_IF_TSRESOL, b"\x09") + bytes(4))


def packet(record: Record) -> bytes:
    """An enhanced packet block; its interface's block must stand before it."""
    time = fits("pcapng", 12, "time", record.time, 64)
    size = len(record.frame)
    original = record.original_length or size
    if original < size:
        raise WireError("pcapng", 24, f"original length {original} is below the {size} bytes captured")
    index = fits("pcapng", 8, "interface", record.interface, 32)
    head = struct.pack("<IIIII", index, time >> 32, time & 0xFFFFFFFF, size, fits("pcapng", 24, "length", original, 32))
    return _block(_ENHANCED, head + record.frame + bytes(-size % 4))


def write(interfaces: Iterable[Interface], records: Iterable[Record]) -> bytes:
    """A whole file."""
    return b"".join((section(), *map(interface, interfaces), *map(packet, records)))


def read(data: bytes) -> Capture:
    """A whole capture from the bytes of a pcapng or a classic pcap file; raises WireError where it is damaged or cut.

    Interface indexes count through all sections.
    """
    if pcap.is_pcap(data):
        return pcap.read(data)
    return _Reader(data).read()


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, fits("pcapng", 0, "option length", len(value), 16)) + value + bytes(-len(value) % 4)


class _Reader:
    """One pass over the blocks of a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<"
        self._interfaces: list[Interface] = []
        self._clocks: list[tuple[int, int]] = []  # each interface's ticks per second and offset in seconds
        self._records: list[Record] = []
        self._first = 0  # index of this section's first interface

    def read(self) -> Capture:
        need("pcapng", self._data, 12)
        at = 0
        while at < len(self._data):
            at += self._one(at)
        return Capture(tuple(self._interfaces), tuple(self._records))

    def _one(self, at: int) -> int:
        """Takes the block at `at`; gives its length."""
        need("pcapng", self._data, 12, at)
        opens_section = self._data[at : at + 4] == b"\x0a\x0d\x0d\x0a"
        if opens_section:
            self._open_section(at)
        elif at == 0:
            raise WireError("pcapng", 0, f"starts with {self._data[:4].hex()}, not with a section header")
        kind: int
        size: int
        kind, size = struct.unpack_from(self._order + "II", self._data, at)
        if size < 12 or size % 4:
            raise WireError("pcapng", at + 4, f"block length {size}")
        need("pcapng", self._data, size, at)
        (again,) = struct.unpack_from(self._order + "I", self._data, at + size - 4)
        if again != size:
            raise WireError("pcapng", at + size - 4, f"block length {size} is repeated as {again}")
        takes = {_INTERFACE: self._interface, _ENHANCED: self._enhanced, _SIMPLE: self._simple}.get(kind)
        if takes and not opens_section:
            try:
                takes(self._data[at + 8 : at + size - 4])
            except WireError as error:
                raise error.moved(at + 8) from None
        return size

    def _open_section(self, at: int) -> None:
        magic = self._data[at + 8 : at + 12]
        orders = {_MAGIC.to_bytes(4, "little"): "<", _MAGIC.to_bytes(4, "big"): ">"}
        if magic not in orders:
            raise WireError("pcapng", at + 8, f"byte-order magic {magic.hex()}")
        self._order = orders[magic]
        self._first = len(self._interfaces)

    def _interface(self, body: bytes) -> None:
        need("pcapng", body, 8)
        link_type, _, snap_length = struct.unpack_from(self._order + "HHI", body)
        options = self._options(body, 8)
        name = options.get(_IF_NAME, b"").decode(errors="replace")
        resolution = (options.get(_IF_TSRESOL) or b"\x06")[0]
        ticks = 1 << (resolution & 0x7F) if resolution & 0x80 else 10**resolution
        offset = int.from_bytes(options.get(_IF_TSOFFSET, b""), "little" if self._order == "<" else "big", signed=True)
        self._interfaces.append(Interface(name, link_type, snap_length))
        self._clocks.append((ticks, offset))

    def _options(self, body: bytes, at: int) -> dict[int, bytes]:
        options: dict[int, bytes] = {}
        while len(body) - at >= 4:
            code, size = struct.unpack_from(self._order + "HH", body, at)
            if not code:
                break
            need("pcapng", body, size, at + 4)
            options.setdefault(code, body[at + 4 : at + 4 + size])
            at += 4 + size + -size % 4
        return options

    def _enhanced(self, body: bytes) -> None:
        need("pcapng", body, 20)
        index, high, low, size, original = struct.unpack_from(self._order + "IIIII", body)
        need("pcapng", body, size, 20)
        index += self._first
        if index >= len(self._interfaces):
            raise WireError("pcapng", 0, f"interface {index - self._first} was not introduced")
        ticks, offset = self._clocks[index]
        time = (high << 32 | low) * 1_000_000_000 // ticks + offset * 1_000_000_000
        self._records.append(Record(time, body[20 : 20 + size], index, original))

    def _simple(self, body: bytes) -> None:
        """A simple block has no time and belongs to the section's first interface."""
        need("pcapng", body, 4)
        if self._first >= len(self._interfaces):
            raise WireError("pcapng", 0, "a simple packet before any interface")
        (original,) = struct.unpack_from(self._order + "I", body)
        limit = self._interfaces[self._first].snap_length
        size = min(original, limit) if limit else original
        need("pcapng", body, size, 4)
        self._records.append(Record(0, body[4 : 4 + size], self._first, original))
