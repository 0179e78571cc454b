"""The table that trains are made in: a row of octets for each datagram, headers first.

A frame is put in with two copies, its headers to all of its rows and its payload in pieces. The rest is done for all
frames in the table at once: columns for what counts up, and checksums. That of TCP is the sum of a row, since its field
holds the pseudo header's sum until then, as it does in unfinished frames everywhere.

Calls are what this costs, not octets, and most of all what they bring into caches that the kernel has gone over since
the last frame. So there are few, tables are used again, and a frame is done with while it is in the nearest cache.
"""

from __future__ import annotations

from itertools import pairwise
from struct import Struct
from typing import Any

import numpy as np

from weft.l2.user.checksums import MODULUS, Octets, column
from weft.l2.user.tx.split import SEGMENTS_MAX, Shape, Sums, put_payload

MOST = 4  # frames at a time: their trains fill a quarter of a core's cache
_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_ENDS = _FIN | _PSH | _CWR
_WORD, _LONG = Struct("!H"), Struct("!I")

_COUNT = np.arange(0x10000 + MOST * SEGMENTS_MAX)
_IDENTS = _COUNT.astype(">u2")  # identification n, n + 1, …
_CHECKSUMS = (-_COUNT % MODULUS).astype(">u2")  # for the sum n, n + 1, …
_ABOVE = np.uint64(MODULUS << 40)  # a multiple of the modulus, more than any row's sum
_MODULUS = np.uint64(MODULUS)


class Table:
    """For frames whose shapes differ in segments and length only; used again and again.

    `store`: where the rows are, in the train's order; whoever shares it is used in turn.
    """

    def __init__(self, shape: Shape, store: Octets) -> None:
        version, self._ip, self._tcp, payload, _, mss, _ = shape
        self._ipv4, self._width = version == 4, payload + mss
        self._padded = self._width + (self._width & 1)  # whole words for the sums
        many = len(store) // self._padded
        self._rows = store[: many * self._padded].reshape(many, self._padded)
        self._data = self._rows.reshape(-1).data
        self._steps = (np.arange(many) * mss).astype(np.uint32)
        self._sequences = column(self._rows, self._tcp + 4, 4)
        self._checksums = column(self._rows, self._tcp + 16, 2).view(np.uint16)  # in the machine's order, as `_words`
        if self._ipv4:
            self._idents, self._headers = column(self._rows, self._ip + 4, 2), column(self._rows, self._ip + 10, 2)
        words: Any = np.uint16 if self._padded % 4 else np.uint32
        self._words = self._rows[:, self._tcp + self._tcp % 4 :].view(words)
        self._sum = np.dtype(np.uint32 if self._padded % 4 else np.uint64)
        self._used = self._less = 0
        self._stretches: list[tuple[int, ...]] = []  # first row, and its sequence, identification and header's sum
        self._due = (0, 0, -1)  # what would go on with the last stretch

    @property
    def room(self) -> int:
        """Rows that are left."""
        return len(self._rows) - self._used

    def put(self, octets: Octets, header: memoryview, shape: Shape, known: Sums) -> None:
        """A frame behind its encapsulation, maybe followed by others, of a full shape unless it is the last one.

        `header` begins with the same octets; they are changed.
        """
        _, ip, tcp, payload, count, mss, last = shape
        first, end = self._used, self._used + count
        flags = header[tcp + 13]
        header[tcp + 13] = flags & ~_ENDS
        _WORD.pack_into(header, tcp + 16, known.pseudo)
        _WORD.pack_into(header, ip + (2 if self._ipv4 else 4), known.length)
        rows = self._rows[first:end]
        rows[:, :payload] = octets[:payload]
        put_payload(rows, octets[payload : payload + (count - 1) * mss + last], shape)
        (sequence,) = _LONG.unpack_from(header, tcp + 4)
        ident = _WORD.unpack_from(header, ip + 4)[0] if self._ipv4 else 0
        if (sequence, ident, known.header) != self._due:
            self._stretches.append((first, sequence, ident, known.header))
        self._due = sequence + count * mss & 0xFFFFFFFF, ident + count * self._ipv4 & 0xFFFF, known.header
        if flags & _ENDS or last != mss:
            self._end(first * self._padded, (end - 1) * self._padded, flags, mss - last, known)
        self._used = end

    def _end(self, first: int, last: int, flags: int, less: int, known: Sums) -> None:
        """What only a frame's first and last row have, which begin there: flags, and so many octets less."""
        data, tcp = self._data, self._tcp
        data[first + tcp + 13] |= flags & _CWR
        data[last + tcp + 13] |= flags & (_FIN | _PSH)
        if less:
            self._less = less
            _WORD.pack_into(data, last + tcp + 16, (known.pseudo - less) % MODULUS)
            _WORD.pack_into(data, last + self._ip + (2 if self._ipv4 else 4), known.length - less)

    def take(self) -> memoryview:
        """All datagrams, finished, one behind the other, valid until the next one is put; the table is empty then."""
        used, stretches = self._used, self._stretches
        for (first, *numbers), (end, *_) in pairwise((*stretches, (used,))):
            self._count(first, end, *numbers)
        if self._less and self._ipv4:
            at = (used - 1) * self._padded + self._ip + 10
            _WORD.pack_into(self._data, at, (_WORD.unpack_from(self._data, at)[0] + self._less) % MODULUS)
        sums = np.add.reduce(self._words[:used], axis=-1, dtype=self._sum)
        sums = np.subtract(_ABOVE, sums)
        self._checksums[:used] = np.remainder(sums, _MODULUS, out=sums)
        self._used, self._less, self._stretches, self._due = 0, 0, [], (0, 0, -1)
        if self._padded == self._width:
            return self._data[: used * self._width]
        return np.ascontiguousarray(self._rows[:used, : self._width]).reshape(-1).data

    def _count(self, first: int, end: int, sequence: int, ident: int, header: int) -> None:
        """Numbers that count up, and the checksums of IPv4 headers."""
        count = end - first
        self._sequences[first:end] = self._steps[:count] + sequence
        if not self._ipv4:
            return
        self._idents[first:end] = _IDENTS[ident : ident + count]
        at, fit = (header + ident) % MODULUS, min(count, 0x10000 - ident)
        self._headers[first : first + fit] = _CHECKSUMS[at : at + fit]
        if fit < count:  # they begin with 0 again
            self._headers[first + fit : end] = _CHECKSUMS[header : header + count - fit]
