"""Trains that are a stretch of one TCP stream, the common case: seen by one subtraction, given away where they lie.

The headers of such a train were all made out of one: sequence numbers and identifications count up, and IPv4's checksum
counts down with the identification (or both stand still, as RFC 6864 allows with "don't fragment"). Read as numbers of
eight octets, with that taken off, all headers are the same; of what is compared TCP's checksum and PSH alone are left
out, and the last datagram may be shorter. Then the first header is judged for all, and each datagram's checksum of TCP
by the sum of its octets. What is no such train, or not surely (nothing may carry into another field), is left to
weft.l2.user.rx.merge, which says what is compared and why: what is found here is what would be found there.

One train may have the end of a sender's frame and the beginning of the next, which are two here, too: a datagram with
PSH ends a frame, and one that acknowledges something else, or at another time (TCP's options), begins one.

A frame that many become has one header, and its payload does not move: who takes it gets a list of the pieces.
"""

from __future__ import annotations

import struct
import sys
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from weft.l2.user import vnet
from weft.l2.user.checksums import MODULUS, native, remainders, total, words
from weft.l2.user.framing import VXLAN, Framing
from weft.l2.user.rx.layout import Layout, layout
from weft.l2.user.rx.pieces import Pieces
from weft.l2.user.vnet import Offload

LEAD = 16  # octets of a buffer before its first datagram
ROOM = 66000  # octets of the longest train
BUFFER = LEAD + 2 * ROOM  # the last datagram of a train is seen as long as the others

_PSH, _PUSHED, _TCP, _CHECKSUM, _DONT_FRAGMENT = 0x08, 0x18, 6, 16, 0x40
_LONGEST = 65535  # octets of an IP packet
_MOST = 128  # datagrams that come at once (UDP_MAX_SEGMENTS)
_GRIDS = 64
_WORD = 0xFFFFFFFFFFFFFFFF
_Numbers = npt.NDArray[np.uint64]
# Of so many datagrams: words, steps, masks, checksums.
_Cut = tuple[_Numbers, _Numbers, _Numbers, npt.NDArray[np.uint16]]
_put = struct.Struct(">H").pack_into


class Streams:
    """Of what comes into `buffer` (BUFFER octets), where a train begins at LEAD."""

    def __init__(self, buffer: memoryview, framing: Framing = VXLAN) -> None:
        self._buffer, self._framing = buffer, framing
        self._grids: dict[tuple[int, int, int, bool], Grid] = {}

    def stream(self, octets: int, size: int) -> list[Pieces]:
        """The frames that a train of `octets` in datagrams of `size` becomes; none: not one stretch, or not surely."""
        shape = layout(self._buffer[LEAD : LEAD + size], self._framing)
        return [] if shape is None else self.behind(shape.tcp, octets, size, shape)

    def behind(self, tcp: int, octets: int, size: int, shape: Layout | None = None) -> list[Pieces]:
        """The same, where the first datagram is known to have a TCP header there, or to be of a shape."""
        ident = LEAD + tcp - 16  # IPv4's; two octets of IPv6's address, which stand still
        counts = self._buffer[ident : ident + 2] != self._buffer[ident + size : ident + size + 2]
        place = tcp, self._buffer[LEAD + tcp + 12] >> 4, size, counts
        grid = self._grids.get(place)
        if grid is None:
            if shape is None:
                return self.stream(octets, size)
            if shape.payload >= size or (size - shape.payload) & 1:
                return []
            if len(self._grids) >= _GRIDS:
                self._grids.clear()
            grid = self._grids[place] = Grid(self._buffer, size, shape, counts)
        return grid.stream(octets)


class Grid:
    """The headers of datagrams of one size as numbers of eight octets, a row each; the IP header begins a number.

    `counts`: whether IPv4's identifications do.
    """

    def __init__(self, buffer: memoryview, size: int, shape: Layout, counts: bool) -> None:
        self._size, self._mss, self._shape, self._counts = size, size - shape.payload, shape, counts
        ip, tcp, before = shape.ip, shape.tcp, -shape.ip % 8
        most = min(_MOST, ROOM // size, (_LONGEST - shape.payload + ip) // self._mss)
        width = -(-(before + shape.payload) // 8)
        self._data = buffer[LEAD:]
        self._words = np.ndarray((most, width), ">u8", buffer, LEAD - before, (size, 8))
        self._checksums = np.ndarray((most,), ">u2", buffer, LEAD + tcp + 16, (size,))
        self._payloads = [self._data[at + shape.payload : at + size] for at in range(0, most * size, size)]
        self._rows = words(np.frombuffer(self._data, np.uint8, most * size).reshape(most, size))
        kind, start = vnet.GSO_TCPV4 if shape.version == 4 else vnet.GSO_TCPV6, tcp - shape.frame
        head = shape.payload - shape.frame
        self._offload = Offload(vnet.NEEDS_CSUM, kind, head, self._mss, start, _CHECKSUM).encode()

        compared = np.zeros(8 * width, np.uint8)
        compared[before : before + shape.payload] = 0xFF
        compared[before + tcp + 13] = 0xFF & ~_PSH
        compared[before + tcp + 16 : before + tcp + 18] = 0
        lasting = compared.copy()
        for start, end in ((tcp + 8, tcp + 12), (tcp + 14, tcp + 16), (tcp + 20, shape.payload)):
            lasting[before + start : before + end] = 0
        self._lasting = int.from_bytes(lasting.view(">u8").astype(np.uint64).tobytes(), sys.byteorder)
        self._masks = np.tile(compared.view(">u8").astype(np.uint64), (most, 1))  # broadcasting costs more than memory

        def bit(at: int, octets: int) -> int:
            """The lowest bit of a field, in a row as one number whose first eight octets count least."""
            number, place = divmod(before + at, 8)
            return 64 * number + 64 - 8 * (place + octets)

        counting = {bit(tcp + 4, 4): self._mss}
        if shape.version == 4:
            counting |= {bit(ip + 4, 2): int(counts), bit(ip + 10, 2): -int(counts)}
            self._shorter = (1 << bit(ip + 10, 2)) - (1 << bit(ip + 2, 2))
            self._fields = struct.Struct(f">{ip + 2}xHH4xH{tcp - ip - 8}xI5xB")
        else:
            self._shorter = -1 << bit(ip + 4, 2)
            self._fields = struct.Struct(f">{ip + 4}xH{tcp - ip - 2}xI5xB")
        step = [sum(value << at - 64 * i for at, value in counting.items() if at // 64 == i) for i in range(width)]
        self._steps = np.outer(np.arange(most, dtype=np.uint64), np.array([each & _WORD for each in step], np.uint64))
        self._cuts: dict[int, _Cut] = {}

    def _cut(self, count: int) -> _Cut:
        made = self._words[:count], self._steps[:count], self._masks[:count], self._checksums[:count]
        return self._cuts.setdefault(count, made)

    def stream(self, octets: int) -> list[Pieces]:
        """The frames that a train of so many octets becomes; none: not one stretch, or not surely."""
        shape, size, count = self._shape, self._size, -(-octets // self._size)
        shorter = count * size - octets
        if not 2 <= count <= len(self._payloads) or shorter >= self._mss:
            return []
        numbers, steps, masks, checksums = self._cuts.get(count) or self._cut(count)
        counted = numbers - steps
        rows = np.bitwise_and(counted, masks, counted).tobytes()
        begins, stated = self._begins(rows, count, shorter), checksums.tolist()
        pseudo = 0 if begins is None else self._pseudo(count, shorter, stated)
        if begins is None or not pseudo or not self._whole(octets, count, shorter, pseudo):
            return []
        flags = bytes(self._data[shape.tcp + 13 : (count - 1) * size : size])
        if not begins and _PUSHED not in flags:
            return [self._frame(0, count, shorter, pseudo)]
        at = flags.find(_PUSHED) + 1
        while at:
            begins.add(at)
            at = flags.find(_PUSHED, at) + 1
        edges = pairwise((0, *sorted(begins), count))
        return [self._frame(at, end, shorter if end == count else 0, pseudo) for at, end in edges]

    def _begins(self, rows: bytes, count: int, shorter: int) -> set[int] | None:
        """Which headers begin another frame than those before; None: they are not of one stretch."""
        width = len(rows) // count
        first, last = rows[:width], rows[-width:]
        if shorter:
            size = int.from_bytes(last, sys.byteorder) - shorter * self._shorter
            if size.bit_length() > 8 * width or size < 0:
                return None
            last = size.to_bytes(width, sys.byteorder)
        if last == first and rows.startswith(first * (count - 1)):
            return set()
        each = [*(rows[at : at + width] for at in range(0, len(rows) - width, width)), last]
        begins = {index for index in range(1, count) if each[index] != each[index - 1]}
        whole = int.from_bytes(first, sys.byteorder)
        if any((int.from_bytes(each[index], sys.byteorder) ^ whole) & self._lasting for index in begins):
            return None
        return begins

    def _pseudo(self, count: int, shorter: int, checksums: list[int]) -> int:
        """The sum of a datagram's pseudo header; 0 where the first header is not right, a checksum is unfinished or a
        field would carry into the next."""
        shape, data = self._shape, self._data
        ip, tcp = shape.ip, shape.tcp
        if shape.version == 4:
            stated, ident, check, sequence, flags = self._fields.unpack_from(data)
            if total(data[ip:tcp]) % MODULUS or ident + count > 0x10000 or not count <= check <= 0xFFFF - shorter:
                return 0
            if not self._counts and not data[ip + 6] & _DONT_FRAGMENT:
                return 0
            before, addresses = ip, data[ip + 12 : tcp]
        else:
            stated, sequence, flags = self._fields.unpack_from(data)
            before, addresses = tcp, data[ip + 8 : tcp]
        if flags | _PSH != _PUSHED or stated + before != self._size or sequence + count * self._mss > 1 << 32:
            return 0
        pseudo = total(addresses) + _TCP + self._size - tcp
        if (pseudo % MODULUS or MODULUS) in checksums or (checksums[-1] - pseudo + shorter) % MODULUS == 0:
            return 0
        return pseudo

    def _whole(self, octets: int, count: int, shorter: int, pseudo: int) -> bool:
        """Whether all checksums are right: by the sums of whole datagrams, in which an IPv4 header is nothing."""
        data, (ip, tcp) = self._data, (self._shape.ip, self._shape.tcp)
        data[octets : octets + shorter] = bytes(shorter)
        front, less = (total(data[:ip]), shorter) if self._shape.version == 4 else (total(data[:tcp]), 0)
        wanted, last = native(front - pseudo), native(front - pseudo + less)
        return remainders(self._rows[:count]) == [*[wanted] * (count - 1), last]

    def _frame(self, first: int, end: int, shorter: int, pseudo: int) -> Pieces:
        """What the datagrams from `first` on become, of which the last one is shorter by so many octets."""
        shape, mss, size, count = self._shape, self._mss, self._size, end - first
        at = first * size
        if count == 1:
            alone = self._data[at + shape.frame : at + size - shorter]
            return Pieces(vnet.PLAIN, alone, [], len(alone), 1)
        header = bytearray(self._data[at + shape.frame : at + shape.payload])
        ip, tcp, longer = shape.ip - shape.frame, shape.tcp - shape.frame, (count - 1) * mss - shorter
        _put(header, tcp + _CHECKSUM, (pseudo + longer) % MODULUS or MODULUS)
        header[tcp + 13] |= self._data[(end - 1) * size + shape.tcp + 13] & _PSH
        stated = ip + 2 if shape.version == 4 else ip + 4
        _put(header, stated, (header[stated] << 8 | header[stated + 1]) + longer)
        if shape.version == 4:
            _put(header, ip + 10, ((header[ip + 10] << 8 | header[ip + 11]) - longer) % MODULUS)
        payload = self._payloads[first:end]
        if shorter:
            payload[-1] = payload[-1][:-shorter]
        return Pieces(self._offload, header, payload, len(header) + count * mss - shorter, count)
