"""Trains that are one stretch of one TCP stream, the common case: seen by one subtraction, given away where they lie.

The headers of such a train were all made out of one: sequence numbers and identifications count up, and IPv4's checksum
counts down with the identification (or both stand still, as RFC 6864 allows with "don't fragment"). Read as numbers of
eight octets, with that taken off, all headers are the same; of what is compared TCP's checksum alone is left out, and
the last datagram may be shorter and bear PSH. Then the first header is judged for all. What is no such train, or not
surely (nothing may carry into another field), is left to weft.l2.user.rx.merge, which says what is compared and why:
what is found here is what would be found there.

The frame that all become has one header, and its payload does not move: who takes it gets a list of the pieces.
"""

from __future__ import annotations

import struct
import sys

import numpy as np
import numpy.typing as npt

from weft.l2.user import vnet
from weft.l2.user.checksums import MODULUS, total
from weft.l2.user.framing import VXLAN, Framing
from weft.l2.user.rx.layout import Layout, layout
from weft.l2.user.rx.pieces import Pieces
from weft.l2.user.vnet import Offload

LEAD = 16  # octets of a buffer before its first datagram
ROOM = 66000  # octets of the longest train
BUFFER = LEAD + 2 * ROOM  # the last datagram of a train is seen as long as the others

_ACK, _PSH, _TCP, _DONT_FRAGMENT = 0x10, 0x08, 6, 0x40
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

    def stream(self, octets: int, size: int) -> Pieces | None:
        """The frame that a train of `octets` in datagrams of `size` becomes; None: not one stretch, or not surely."""
        shape = layout(self._buffer[LEAD : LEAD + size], self._framing)
        return None if shape is None else self.behind(shape.tcp, octets, size, shape)

    def behind(self, tcp: int, octets: int, size: int, shape: Layout | None = None) -> Pieces | None:
        """The same, where the first datagram is known to have a TCP header there, or to be of a shape."""
        ident = LEAD + tcp - 16  # IPv4's; two octets of IPv6's address, which stand still
        counts = self._buffer[ident : ident + 2] != self._buffer[ident + size : ident + size + 2]
        place = tcp, self._buffer[LEAD + tcp + 12] >> 4, size, counts
        grid = self._grids.get(place)
        if grid is None:
            if shape is None:
                return self.stream(octets, size)
            if shape.payload >= size or (size - shape.payload) & 1:
                return None
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
        kind = vnet.GSO_TCPV4 if shape.version == 4 else vnet.GSO_TCPV6
        self._offload = Offload(vnet.GSO_NONE, kind, shape.payload - shape.frame, self._mss).encode()

        compared = np.zeros(8 * width, np.uint8)
        compared[before : before + shape.payload] = 0xFF
        compared[before + tcp + 16 : before + tcp + 18] = 0
        self._masks = np.tile(compared.view(">u8").astype(np.uint64), (most, 1))  # broadcasting costs more than memory

        def bit(at: int, octets: int) -> int:
            """The lowest bit of a field, in a row as one number whose first eight octets count least."""
            number, place = divmod(before + at, 8)
            return 64 * number + 64 - 8 * (place + octets)

        counting, self._psh = {bit(tcp + 4, 4): self._mss}, _PSH << bit(tcp + 13, 1)
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

    def stream(self, octets: int) -> Pieces | None:
        """The frame that a train of so many octets becomes; None: not one stretch, or not surely."""
        shape, mss, count = self._shape, self._mss, -(-octets // self._size)
        shorter = count * self._size - octets
        if not 2 <= count <= len(self._payloads) or shorter >= mss:
            return None
        words, steps, masks, checksums = self._cuts.get(count) or self._cut(count)
        counted = words - steps
        rows = np.bitwise_and(counted, masks, counted).tobytes()
        width = len(rows) // count
        first, last = rows[:width], rows[-width:]
        if not rows.startswith(first * (count - 1)) or (first != last and not self._ends(first, last, shorter)):
            return None
        header = self._header(count, shorter, checksums.tolist())
        if header is None:
            return None
        header[shape.tcp - shape.frame + 13] |= self._data[(count - 1) * self._size + shape.tcp + 13] & _PSH
        payload = self._payloads[:count]
        if shorter:
            payload[-1] = payload[-1][:-shorter]
        return Pieces(self._offload, header, payload, len(header) + count * mss - shorter, count)

    def _ends(self, first: bytes, last: bytes, shorter: int) -> bool:
        """Whether the last header is the first one, shorter by so many octets and with PSH maybe."""
        wanted = int.from_bytes(first, sys.byteorder) + shorter * self._shorter
        return int.from_bytes(last, sys.byteorder) in (wanted, wanted | self._psh)

    def _header(self, count: int, shorter: int, checksums: list[int]) -> bytearray | None:
        """The big frame's, without PSH; None where the first datagram's is not right, a checksum is unfinished or a
        field would carry into the next."""
        shape, mss = self._shape, self._mss
        header = bytearray(self._data[shape.frame : shape.payload])
        ip, tcp = shape.ip - shape.frame, shape.tcp - shape.frame
        if shape.version == 4:
            stated, ident, check, sequence, flags = self._fields.unpack_from(self._data)
            if total(header[ip:tcp]) % MODULUS or ident + count > 0x10000 or not count <= check <= 0xFFFF - shorter:
                return None
            if not self._counts and not header[ip + 6] & _DONT_FRAGMENT:
                return None
            at, beside, addresses = ip + 2, ip, header[ip + 12 : tcp]
        else:
            stated, sequence, flags = self._fields.unpack_from(self._data)
            at, beside, addresses, check = ip + 4, tcp, header[ip + 8 : tcp], 0
        if flags != _ACK or stated + beside != self._size - shape.frame or sequence + count * mss > 1 << 32:
            return None
        pseudo = total(addresses) + _TCP + self._size - shape.tcp
        if (pseudo % MODULUS or MODULUS) in checksums or (checksums[-1] - pseudo + shorter) % MODULUS == 0:
            return None
        length = stated + (count - 1) * mss - shorter
        _put(header, at, length)
        if shape.version == 4:
            _put(header, ip + 10, (check + stated - length) % MODULUS)
        # A checksum is the sum of payload and headers, negative: all of them have the headers of all but one too many.
        once = pseudo + total(header[tcp:]) - checksums[0]
        value = sum(checksums) + (count - 1) * once + mss * ((count - 1) * (count - 2) // 2)
        _put(header, tcp + 16, value % MODULUS)
        return header
