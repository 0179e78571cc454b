"""Whatever waits is sent: all of it, by place in order, in trains that the kernel takes."""

from __future__ import annotations

import errno
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from weft.l2.user.tx.batch import Batches, Place
from weft.l2.user.underlay import Underlay
from weft.l2.user.world import SegmentState
from weft.model.network import Arp, SegmentKey
from weft.plan.segment import Segment

SEGMENT = Segment(SegmentKey(4789, 5000), "blue", "192.168.33.12", 1450, False, 300, Arp.FLOOD)
MOST = 4000


class Wire:
    """An underlay that keeps what is sent, by socket and VTEP."""

    def __init__(self) -> None:
        self.datagrams: dict[tuple[int, str], list[bytes]] = {}
        self.failing = False

    def most(self, size: int) -> int:
        return MOST // size * size

    def send_train(self, bucket: int, vtep: str, data: memoryview, size: int, tos: int) -> None:
        if self.failing:
            raise OSError(errno.ENETUNREACH, "away")
        assert size <= len(data) <= MOST or len(data) == size
        parts = [bytes(data[at : at + size]) for at in range(0, len(data), size)]
        self.datagrams.setdefault((bucket, vtep), []).extend(parts)


def state(wire: Wire) -> SegmentState:
    return SegmentState(SEGMENT, cast(Underlay, wire))


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(14, 1400), st.booleans()), max_size=60),
)
def test_everything_leaves_in_order(steps: list[tuple[int, int, bool]]) -> None:
    wire, told = Wire(), 0
    here = state(wire)

    def sent(place: Place, frames: int, octets: int, failed: OSError | None) -> None:
        nonlocal told
        assert failed is None
        told += frames

    batches, wanted = Batches(sent), dict[tuple[int, str], list[bytes]]()
    for number, (bucket, size, settled) in enumerate(steps):
        place, frame = Place(here, bucket, "192.168.33.13", 0), bytes((number,)) * size
        batches.put(place, memoryview(frame))
        wanted.setdefault((bucket, place.vtep), []).append(here.vxlan + frame)
        if settled:
            batches.settle(place)
            assert wire.datagrams[bucket, place.vtep] == wanted[bucket, place.vtep]
    batches.flush()
    assert wire.datagrams == wanted
    assert told == len(steps)


def test_a_train_that_is_not_taken_is_told_with_its_frames() -> None:
    wire = Wire()
    wire.failing = True
    told: list[tuple[int, int, int | None]] = []
    batches = Batches(lambda place, frames, octets, failed: told.append((frames, octets, failed and failed.errno)))
    place = Place(state(wire), 0, "192.168.33.13", 0)
    for _ in range(3):
        batches.put(place, memoryview(bytes(60)))
    batches.flush()
    batches.flush()
    assert told == [(3, 180, errno.ENETUNREACH)]
