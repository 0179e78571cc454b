"""The plan depends on what the store says now, never on how it came to say so."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet import network, nodes, port
from weft.agent.feed import Feed
from weft.compile.node import compile_node, recompile
from weft.model.endpoint import Endpoint
from weft.model.network import Arp, FloodMode, Learning, Network
from weft.plan.node import NodePlan
from weft.store.records import Keys, encode
from weft.store.store import Change, Changes, Item, Snapshot

KEYS = Keys()


def _networks(name: str, vni: int) -> list[Network]:
    return [
        network(name, vni),
        network(name, vni, mtu=1300, arp=Arp.FLOOD),
        network(name, vni + 1, learning=Learning.DATA_PLANE, flood=FloodMode.GROUP, group="239.1.1.1"),
    ]


THINGS: list[Any] = [
    *nodes(3).values(),
    *_networks("blue", 5000),
    *_networks("green", 6000),
    *(port(f"p{n}", of, f"h{1 + n % 3}", n) for n in range(1, 7) for of in ("blue", "green")),
    *(port(f"p{n}", "blue", f"h{1 + (n + 1) % 3}", n, mobile=True) for n in range(1, 4)),
]
SEEN = [
    Endpoint(key=network("blue", 5000).key, mac=f"02:00:00:00:00:{n:02x}", node=node, sequence=n, ips=(f"10.1.1.{n}",))
    for n in (1, 2, 9)
    for node in ("h1", "h2", "h3")
]
put = st.one_of(
    st.sampled_from(THINGS).map(lambda thing: (KEYS.of(thing), encode(thing))),
    st.sampled_from(SEEN).map(lambda endpoint: (KEYS.endpoint(endpoint), encode(endpoint))),
)
drop = st.sampled_from([*map(KEYS.of, THINGS), *map(KEYS.endpoint, SEEN)]).map(lambda key: (key, None))
history = st.lists(st.one_of(put, put, drop), max_size=40)


def follow(feed: Feed, steps: list[tuple[str, bytes | None]], cuts: list[int]) -> NodePlan:
    """Feeds the steps in transactions cut at these places, recompiling what is dirty after each."""
    plan = NodePlan("h1")
    edges = sorted({0, len(steps), *(cut % (len(steps) + 1) for cut in cuts)})
    for revision, (start, end) in enumerate(pairwise(edges), 2):
        changes = tuple(Change(key, value, revision) for key, value in steps[start:end])
        feed.take(Changes(revision, changes))
        plan = recompile(plan, feed.world, feed.taken())
    return plan


def snapshot(steps: list[tuple[str, bytes | None]]) -> Snapshot:
    final = dict(steps)
    return Snapshot(9, tuple(Item(key, value, 9) for key, value in sorted(final.items()) if value is not None))


@pytest.mark.thorough
@settings(max_examples=300)
@given(history, st.lists(st.integers(0, 40), max_size=6), st.randoms(use_true_random=False))
def test_any_history_ends_in_the_same_plan(steps: list[Any], cuts: list[int], random: Any) -> None:
    loaded = Feed(KEYS)
    loaded.load(snapshot(steps))
    want = compile_node(loaded.world, "h1")
    assert follow(Feed(KEYS), steps, cuts) == want, "split"
    assert follow(Feed(KEYS), steps, []) == want, "squashed"
    last = list(dict(steps).items())
    random.shuffle(last)
    assert follow(Feed(KEYS), [*last, *last], cuts) == want, "shuffled, each twice"


@given(history, history)
def test_a_new_snapshot_forgets_all_that_was_before(before: list[Any], after: list[Any]) -> None:
    feed, fresh = Feed(KEYS), Feed(KEYS)
    feed.load(snapshot(before))
    plan = recompile(NodePlan("h1"), feed.world, feed.taken())
    feed.load(snapshot(after))
    fresh.load(snapshot(after))
    assert recompile(plan, feed.world, feed.taken()) == compile_node(fresh.world, "h1")


@pytest.mark.thorough
@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from([KEYS.of(t) for t in THINGS]) | st.text().map(KEYS.intent.__add__), st.binary()))
)
def test_hostile_records_are_named_and_never_crash(records: list[tuple[str, bytes]]) -> None:
    feed = Feed(KEYS)
    feed.load(Snapshot(1, tuple(Item(key, value, 1) for key, value in records)))
    assert compile_node(feed.world, "h1").segments == {}
    assert all(key in str(error) for key, error in feed.broken.items())
