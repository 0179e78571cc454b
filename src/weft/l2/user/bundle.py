"""Big TCP frames that wait to be split together: what one look at a device finds of one shape.

Splitting is mostly the price of its passes over arrays, and that of one frame is nearly that of four. Only what waits
at the device already is gathered, so nobody waits longer for it. Frames stay where they were read, in slots of their
own, until the bundle is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from weft.l2.user import vnet
from weft.l2.user.split import Shape, split_all

MOST = 4  # frames: with their trains they fill half of a core's cache
_SLOT = vnet.SIZE + 65536 + 256

Tag = TypeVar("Tag")


class Slots:
    """Buffers to read into, one more than are ever kept at a time."""

    def __init__(self) -> None:
        self._all = [memoryview(bytearray(_SLOT)) for _ in range(MOST + 1)]
        self._now = 0
        self.buffer = self._all[0]

    def keep(self) -> None:
        """The frame in the buffer is still needed: the next one goes elsewhere."""
        self._now = (self._now + 1) % len(self._all)
        self.buffer = self._all[self._now]


class Bundle(Generic[Tag]):
    """Used by one thread. `tags` go with the frames: what is to become of each."""

    def __init__(self) -> None:
        self._frames: list[memoryview] = []
        self.tags: list[Tag] = []
        self._front = b""
        self._shape: Shape | None = None

    def takes(self, front: bytes, shape: Shape) -> bool:
        """Whether a frame of this shape, with this encapsulation, can join those that wait."""
        if not self._frames:
            return True
        return len(self._frames) < MOST and shape.full and shape == self._shape and front == self._front

    def add(self, frame: memoryview, front: bytes, shape: Shape, tag: Tag) -> None:
        """A frame that it takes, which must stay as it is until the bundle is taken."""
        self._frames.append(frame)
        self.tags.append(tag)
        self._front, self._shape = front, shape

    def take(self) -> Iterator[tuple[Tag, int, memoryview, int]]:
        """Tag, octets of the frame, its train, and octets of each datagram, in order; the bundle is empty then."""
        frames, tags, shape = self._frames, self.tags, self._shape
        if not frames or shape is None:
            return
        self._frames, self.tags = [], []
        data = split_all(frames, self._front, shape).data.data
        step = len(data) // len(frames)
        for index, (frame, tag) in enumerate(zip(frames, tags, strict=True)):
            yield tag, len(frame), data[index * step : (index + 1) * step], shape.size
