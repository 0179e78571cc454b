"""Single datagrams that wait for their like: what one look at a port finds for one VTEP goes there as a train.

The way through the kernel's UDP costs more than all our own work on a small frame, and a train goes it once. Only
what waits at the port already is gathered, so nobody waits longer for it. Datagrams of one place keep their order: a
train is of one size, and only its last datagram may be shorter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from weft.l2.user import ecn
from weft.l2.user.tx.entropy import flow_hash
from weft.l2.user.underlay import SOURCE_PORTS
from weft.l2.user.world import SegmentState


class Place(NamedTuple):
    """Where datagrams of a segment go: by the socket of this flow hash, to this VTEP, with this mark."""

    state: SegmentState
    bucket: int
    vtep: str
    tos: int


def places(state: SegmentState, frame: memoryview, vteps: tuple[str, ...]) -> tuple[Place, ...]:
    """Where a frame goes that some VTEPs are to have."""
    bucket, tos = flow_hash(frame) % SOURCE_PORTS, ecn.mark(frame)
    return tuple(Place(state, bucket, vtep, tos) for vtep in vteps)


@dataclass(slots=True)
class Batch:
    """`count` datagrams of `size` octets, the last maybe shorter; then it takes no more. `room`: for so many more."""

    size: int
    room: int
    count: int = 0
    data: bytearray = field(default_factory=bytearray)


Sent = Callable[[Place, int, int, OSError | None], None]


class Batches:
    """`sent` is told of every train: place, datagrams, octets, and the error of one that was not taken."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._open: dict[Place, Batch] = {}

    def put(self, place: Place, frame: memoryview) -> None:
        """One frame, which is sent behind the segment's header, now or with `flush`."""
        front = place.state.vxlan
        size = len(front) + len(frame)
        batch = self._open.get(place)
        if batch is None or size > batch.size or not batch.room:
            self.settle(place)
            batch = self._open[place] = Batch(size, place.state.underlay.most(size) // size)
        batch.room = batch.room - 1 if size == batch.size else 0
        batch.data += front
        batch.data += frame
        batch.count += 1

    def settle(self, place: Place) -> None:
        """Sends what waits for a place; called before anything else is sent there."""
        batch = self._open.pop(place, None)
        if batch is None:
            return
        failed = None
        try:
            with memoryview(batch.data) as data:
                place.state.underlay.send_train(place.bucket, place.vtep, data, batch.size, place.tos)
        except OSError as error:
            failed = error
        self._sent(place, batch.count, len(batch.data) - batch.count * len(place.state.vxlan), failed)

    def flush(self) -> None:
        """Sends all that waits."""
        for place in list(self._open):
            self.settle(place)
