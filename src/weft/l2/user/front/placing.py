"""Which worker a segment is on, as NICs with several queues do it: by a hash of the VNI and an indirection table.

The hash is Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4), of which the upper eight
bits are the bucket: neighboring VNIs are far apart. A bucket is given to the worker that has the fewest segments when
its first one comes, and stays there while it has any. So two networks are on two workers, but for a chance of 1 in 256.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from weft.model.network import SegmentKey

BUCKETS = 256
FACTOR = 0x9E3779B1  # 2^32 divided by the golden ratio
SHIFT = 24
Thing = SegmentKey | str  # a segment, or an IP tunnel by its device


def bucket(vni: int) -> int:
    return (vni * FACTOR & 0xFFFFFFFF) >> SHIFT


class Placing:
    """Segments of one VNI on several UDP ports are on one worker."""

    def __init__(self, workers: int) -> None:
        self._of: dict[Thing, int] = {}
        self._load = dict.fromkeys(range(workers), 0)
        self._owner: dict[int, int] = {}  # of a bucket
        self._filled: Counter[int] = Counter()

    def __bool__(self) -> bool:
        return bool(self._of)

    def of(self, thing: Thing) -> int | None:
        """Where it is; None: nowhere yet."""
        return self._of.get(thing)

    def on(self, worker: int) -> set[Thing]:
        return {thing for thing, there in self._of.items() if there == worker}

    def load(self, worker: int) -> int:
        """How many are there."""
        return self._load[worker]

    def place(self, thing: Thing) -> int:
        """Where it is from now on, if it was nowhere."""
        if thing in self._of:
            return self._of[thing]
        there = min(self._load, key=lambda worker: self._load[worker])
        if isinstance(thing, SegmentKey):
            there = self._owner.setdefault(bucket(thing.vni), there)
            self._filled[bucket(thing.vni)] += 1
        self._load[there] += 1
        self._of[thing] = there
        return there

    def forget(self, thing: Thing) -> None:
        """It is nowhere any more."""
        if (there := self._of.pop(thing, None)) is None:
            return
        self._load[there] -= 1
        if isinstance(thing, SegmentKey):
            self._filled[bucket(thing.vni)] -= 1
            if not self._filled[bucket(thing.vni)]:
                del self._owner[bucket(thing.vni)]

    def table(self, workers: Collection[int]) -> tuple[int, ...]:
        """Bucket → worker, of these: the first of them has what is nobody's."""
        other = min(workers)
        owners = (self._owner.get(each, other) for each in range(BUCKETS))
        return tuple(owner if owner in workers else other for owner in owners)
