"""Big TCP frames that wait to be finished together: what one look at a device finds of one shape.

Splitting is mostly the price of its passes over arrays, and that of one frame is nearly that of four. Only what waits
at the device already is gathered, so nobody waits longer for it. A frame is copied out of the buffer when it is added,
so that the buffer stays in the core's nearest cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np

from weft.l2.user import vnet
from weft.l2.user.tx.split import FRAME_MAX, Shape, Sums
from weft.l2.user.tx.table import MOST, Table

_STORE = 1 << 19  # octets for trains
_TABLES = 64  # that are remembered

Tag = TypeVar("Tag")


class Bundle(Generic[Tag]):
    """Used by one thread. `buffer` is where frames are read, offload header first; `tags` go with those that wait:
    what is to become of each."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(vnet.SIZE + FRAME_MAX + 64))  # what is longer is seen to be
        self._octets = np.frombuffer(self.buffer, np.uint8)
        self._store = np.empty(_STORE, np.uint8)
        self._tables: dict[tuple[int, ...], Table] = {}
        self._table: Table | None = None
        self._shape: Shape | None = None
        self.tags: list[Tag] = []

    def takes(self, shape: Shape) -> bool:
        """Whether a frame of this shape can join those that wait."""
        if self._table is None:
            return True
        fits = shape == self._shape and shape.full and self._table.room >= shape.segments
        return fits and len(self.tags) < MOST

    def add(self, front: bytes, shape: Shape, known: Sums, tag: Tag) -> None:
        """The frame in the buffer, which it takes; its headers there are void then. `front`: its encapsulation."""
        if self._table is None:
            self._table, self._shape = self._open(shape), shape
        at = vnet.SIZE - len(front)
        self.buffer[at : vnet.SIZE] = front
        self._table.put(self._octets[at:], self.buffer[at:], shape, known)
        self.tags.append(tag)

    def _open(self, shape: Shape) -> Table:
        kind = (*shape[:4], shape.mss)
        table = self._tables.get(kind)
        if table is None:
            if len(self._tables) >= _TABLES:
                self._tables.clear()
            table = self._tables[kind] = Table(shape, self._store)
        if table.room >= shape.segments:
            return table
        return Table(shape, np.empty(shape.segments * (shape.size + 1), np.uint8))  # headers that are most of it

    def take(self) -> Iterator[tuple[Tag, memoryview, int]]:
        """Tag, train, and octets of each datagram, in order, valid until the next frame is added; the bundle is empty
        then."""
        table, tags, shape = self._table, self.tags, self._shape
        if table is None or shape is None:
            return
        self._table, self.tags = None, []
        data, step = table.take(), shape.segments * shape.size
        for index, tag in enumerate(tags):
            yield tag, data[index * step : (index + 1) * step - shape.mss + shape.last], shape.size
