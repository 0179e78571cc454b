"""Prefixes of routed networks: unique, the lowest free, kept while the node takes part, nobody else's."""

from __future__ import annotations

import asyncio

import pytest

from weft.cli.decide import decide, without
from weft.model.errors import WeftErrors
from weft.model.file import parse
from weft.model.intent import Intent
from weft.model.prefix import assign_prefixes
from weft.store.intent import Stored, read, update
from weft.store.memory import MemoryStore
from weft.store.records import Keys


def applied(text: str, stored: Intent | None = None) -> Intent:
    return decide(parse({"f": text}), Stored(stored or Intent(), {}, 0, 0, {}))


def fleet(*names: str) -> str:
    return "nodes:\n" + "".join(f"  {name}: {{vtep: 192.168.33.{10 + int(name[1:])}}}\n" for name in names)


def pods(more: str = "", subnet: str = "10.2.0.0/16") -> str:
    return f"networks:\n  pods: {{vni: 1, subnet: '{subnet}', routed: {{{more}}}}}\n"


def prefixes(intent: Intent) -> dict[str, str]:
    routed = intent.networks["pods"].routed
    assert routed is not None
    return routed.prefixes


def test_every_node_is_given_the_lowest_free_prefix() -> None:
    done = applied(fleet("h1", "h2", "h3") + pods("prefixes: {h2: 10.2.0.0/24}"))
    assert prefixes(done) == {"h1": "10.2.1.0/24", "h2": "10.2.0.0/24", "h3": "10.2.2.0/24"}
    assert applied(fleet("h1", "h2", "h3") + pods("prefixes: {h2: 10.2.0.0/24}"), done) == done


def test_ipv6_and_other_lengths() -> None:
    assert prefixes(applied(fleet("h1", "h2") + pods(subnet="fd00:2::/48"))) == {
        "h1": "fd00:2::/64",
        "h2": "fd00:2:0:1::/64",
    }
    done = applied(fleet("h1", "h2") + pods("prefix_length: 20, nodes: [h2]"))
    assert prefixes(done) == {"h2": "10.2.0.0/20"}


def test_a_prefix_is_kept_while_its_node_takes_part() -> None:
    before = applied(fleet("h2", "h3") + pods())
    later = applied(fleet("h1"), before)  # a file that does not name the network
    assert prefixes(later) == {"h2": "10.2.0.0/24", "h3": "10.2.1.0/24", "h1": "10.2.2.0/24"}
    pinned = applied(pods("prefixes: {h1: 10.2.9.0/24}"), later)
    assert prefixes(applied(pods(), pinned)) == prefixes(later) | {"h1": "10.2.9.0/24"}
    less = without(later, "nodes", "h2")
    assert prefixes(applied(fleet("h4"), less)) == {"h1": "10.2.2.0/24", "h3": "10.2.1.0/24", "h4": "10.2.0.0/24"}
    moved = applied(pods(subnet="10.3.0.0/16"), later)
    assert sorted(prefixes(moved).values()) == ["10.3.0.0/24", "10.3.1.0/24", "10.3.2.0/24"]


def test_nobody_takes_what_a_node_has() -> None:
    before = applied(fleet("h1", "h2") + pods())
    with pytest.raises(WeftErrors, match="f:2: network 'pods': 10.2.1.0/24 is what node 'h2' was assigned before"):
        applied(pods("prefixes: {h1: 10.2.1.0/24}"), before)
    swapped = applied(pods("prefixes: {h1: 10.2.1.0/24, h2: 10.2.0.0/24}"), before)
    assert prefixes(swapped) == {"h1": "10.2.1.0/24", "h2": "10.2.0.0/24"}


def test_a_full_pool_is_told_where_it_stands() -> None:
    text = fleet("h1", "h2", "h3") + pods(subnet="10.2.0.0/23")
    with pytest.raises(WeftErrors, match="f:6: network 'pods': 10.2.0.0/23 has 2 prefixes of /24 for 3 nodes"):
        applied(text)


def test_a_node_that_is_listed_or_pinned_cannot_be_deleted() -> None:
    done = applied(fleet("h1", "h2") + pods("prefixes: {h2: 10.2.0.0/24}"))
    assert "h1" not in without(done, "nodes", "h1").nodes
    with pytest.raises(Exception, match="is needed by network pods"):
        without(done, "nodes", "h2")


def test_concurrent_applies_give_no_prefix_twice() -> None:
    async def run() -> Intent:
        store, keys = MemoryStore(), Keys()
        first = parse({"f": fleet("h0") + pods()})
        await update(store, keys, lambda stored: decide(first, stored))
        files = [parse({"f": fleet(f"h{number}")}) for number in range(1, 9)]
        await asyncio.gather(*(update(store, keys, lambda stored, one=one: decide(one, stored)) for one in files))
        return (await read(store, keys)).intent

    found = prefixes(asyncio.run(run()))
    assert len(found) == 9
    assert len(set(found.values())) == 9


def test_what_is_not_routed_is_left_alone() -> None:
    intent = parse({"f": "networks: {blue: {vni: 1, subnet: 10.1.1.0/24}}"}).intent
    assert assign_prefixes(intent, Intent()) is intent
