"""The table that trains are made in: a row of octets for each datagram, headers first.

A frame is put in with two copies, its headers to all of its rows and its payload in pieces, and two more for what
counts up in the IP header. What remains is done for all frames in the table at once: a TCP checksum is the sum of a
row, since the checksum field holds the pseudo header's sum until then, as it does in unfinished frames everywhere.
"""

from __future__ import annotations

import struct

import numpy as np

from weft.l2.user.checksums import MODULUS, Octets, column
from weft.l2.user.split import SEGMENTS_MAX, Shape, Sums, put_payload

_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_INNER = 0xFF ^ (_FIN | _PSH | _CWR)  # flags of a segment that is neither the first nor the last
_WORD, _LONG = struct.Struct("!H"), struct.Struct("!I")

_COUNT = np.arange(0x10000 + SEGMENTS_MAX)
_IDENTS = _COUNT.astype(">u2")  # identification n, n + 1, …
_CHECKSUMS = (-_COUNT % MODULUS).astype(">u2")  # for the sum n, n + 1, …
_ABOVE = np.uint64(MODULUS << 40)  # a multiple of the modulus, more than any row's sum
_MODULUS = np.uint64(MODULUS)


class Table:
    """For frames whose shapes differ in segments and length only; used again and again.

    `store`: where the rows are, in the train's order; whoever shares it is used in turn.
    """

    def __init__(self, shape: Shape, store: Octets) -> None:
        version, ip, tcp, payload, _, mss, _ = shape
        self._width = payload + mss
        self._padded = self._width + (self._width & 1)  # whole words for the sums
        many = len(store) // self._padded
        self._rows = store[: many * self._padded].reshape(many, self._padded)
        self._data = self._rows.reshape(-1).data
        self._steps = (np.arange(many) * mss).astype(np.uint32)
        self._sequences = column(self._rows, tcp + 4, 4)
        self._checksums = column(self._rows, tcp + 16, 2).view(np.uint16)  # in the machine's order, as `_words`
        if version == 4:
            self._idents, self._headers = column(self._rows, ip + 4, 2), column(self._rows, ip + 10, 2)
        self._words = self._rows[:, tcp + tcp % 4 :].view(np.uint16 if self._padded % 4 else np.uint32)
        self._used = 0

    @property
    def room(self) -> int:
        """Rows that are left."""
        return len(self._rows) - self._used

    def put(self, octets: Octets, shape: Shape, known: Sums) -> None:
        """A frame behind its encapsulation, whose headers are changed; its shape must be full, or it is the last.

        `octets` may go on behind it.
        """
        version, ip, tcp, payload, count, mss, last = shape
        first, end = self._used, self._used + count
        header = octets[:payload].data
        flags = header[tcp + 13]
        header[tcp + 13] = flags & _INNER
        _WORD.pack_into(header, tcp + 16, known.pseudo)
        _WORD.pack_into(header, ip + (2 if version == 4 else 4), known.length)
        rows = self._rows[first:end]
        rows[:, :payload] = octets[:payload]
        put_payload(rows, octets[payload : payload + (count - 1) * mss + last], shape)
        steps = self._steps[:count]
        self._sequences[first:end] = steps + _LONG.unpack_from(header, tcp + 4)[0]
        if version == 4:
            self._count(first, end, _WORD.unpack_from(header, ip + 4)[0], known.header)
        if flags & _CWR:
            self._data[first * self._padded + tcp + 13] |= _CWR
        at = (end - 1) * self._padded
        self._data[at + tcp + 13] |= flags & (_FIN | _PSH)
        if last != mss:
            self._shorten(at, shape, known)
        self._used = end

    def _count(self, first: int, end: int, ident: int, header: int) -> None:
        """Identifications that count up, and the checksums of their headers."""
        fit = min(end, first + 0x10000 - ident)
        self._idents[first:end] = _IDENTS[ident : ident + end - first]
        at = (header + ident) % MODULUS
        self._headers[first:fit] = _CHECKSUMS[at : at + fit - first]
        if fit < end:  # they begin with 0 again
            self._headers[fit:end] = _CHECKSUMS[header : header + end - fit]

    def _shorten(self, at: int, shape: Shape, known: Sums) -> None:
        """The last datagram, whose row begins at `at`, has less payload than the others."""
        version, ip, tcp, _, _, mss, last = shape
        less = mss - last
        _WORD.pack_into(self._data, at + tcp + 16, (known.pseudo - less) % MODULUS)
        _WORD.pack_into(self._data, at + ip + (2 if version == 4 else 4), known.length - less)
        if version == 4:
            (checksum,) = _WORD.unpack_from(self._data, at + ip + 10)
            _WORD.pack_into(self._data, at + ip + 10, (checksum + less) % MODULUS)

    def take(self) -> memoryview:
        """All datagrams, finished, one behind the other, valid until the next one is put; the table is empty then."""
        used, self._used = self._used, 0
        sums = np.add.reduce(self._words[:used], axis=-1, dtype=np.uint64)
        np.subtract(_ABOVE, sums, out=sums)
        np.remainder(sums, _MODULUS, out=sums)
        self._checksums[:used] = sums
        if self._padded == self._width:
            return self._data[: used * self._width]
        return np.ascontiguousarray(self._rows[:used, : self._width]).reshape(-1).data
