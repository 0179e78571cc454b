"""Where segments are placed: stable, spread, and the same for one VNI."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from weft.l2.user.front.placing import BUCKETS, Placing, bucket
from weft.model.network import SegmentKey

KEYS = st.builds(SegmentKey, st.sampled_from([4789, 8472]), st.integers(1, (1 << 24) - 1))


@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=60), st.integers(1, 8))
def test_what_is_placed_stays_by_its_bucket(changes: list[tuple[bool, SegmentKey]], workers: int) -> None:
    placing, known = Placing(workers), dict[SegmentKey, int]()
    for placed, key in changes:
        if placed:
            known[key] = placing.place(key)
        else:
            placing.forget(key)
            known.pop(key, None)
        assert {each: placing.of(each) for each in known} == known
        assert bool(placing) == bool(known)
        table = placing.table(range(workers))
        assert all(table[bucket(each.vni)] == worker for each, worker in known.items())
    assert set().union(*(placing.on(worker) for worker in range(workers))) == known.keys()


@given(st.sets(st.integers(1, (1 << 24) - 1), min_size=2, max_size=2))
def test_two_networks_are_on_two_workers_unless_they_share_a_bucket(vnis: set[int]) -> None:
    placing = Placing(2)
    workers = {placing.place(SegmentKey(4789, vni)) for vni in vnis}
    assert len(workers) == len({bucket(vni) for vni in vnis})


def test_vnis_in_a_row_are_spread_evenly() -> None:
    for first in (1, 100, 5000, 1 << 20):
        assert max(Counter(bucket(first + number) for number in range(BUCKETS)).values()) <= 2
    placing = Placing(4)
    assert set(Counter(placing.place(SegmentKey(4789, 5000 + number)) for number in range(100)).values()) == {25}


def test_the_worker_with_the_fewest_segments_gets_the_next_one() -> None:
    placing = Placing(3)
    keys = [SegmentKey(4789, vni) for vni in range(5000, 5006)]
    assert [placing.place(key) for key in keys] == [0, 1, 2, 0, 1, 2]
    placing.forget(keys[1])
    assert placing.place(SegmentKey(4789, 6000)) == 1
    assert placing.place("flannel0") == 0
    assert placing.on(0) == {keys[0], keys[3], "flannel0"}


def test_a_table_names_present_workers_alone() -> None:
    placing = Placing(3)
    keys = [SegmentKey(4789, vni) for vni in (5000, 5001, 5002)]
    assert [placing.place(key) for key in keys] == [0, 1, 2]
    assert set(placing.table([1, 2])) == {1, 2}
    assert placing.table([1, 2])[bucket(5000)] == 1
    assert placing.table([1, 2])[bucket(5002)] == 2
