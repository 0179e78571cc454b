"""The agent against a datapath with faults: what it applies, what it leaves alone, and how it recovers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.agent.waiting import PATIENCE
from tests.fleet import intent, network, port
from weft.agent.agent import Agent
from weft.agent.cleanup import cleanup
from weft.agent.status import Status, read, wait_in_sync
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.l2.fake import FakeDatapath, Faults
from weft.model.errors import WeftError
from weft.model.intent import Intent
from weft.model.network import Arp
from weft.plan import tables
from weft.plan.node import NodePlan
from weft.plan.operations import DropPort, DropRows, DropSegment, PutPort, PutRows, PutSegment
from weft.store import Put, Store, open_store
from weft.store.intent import update
from weft.store.records import Keys, encode

KEYS = Keys()
BEFORE = intent(
    [network("blue", 5000), network("green", 6000)],
    [
        port("a", "blue", "h1", 1),
        port("b", "blue", "h2", 2),
        port("c", "blue", "h3", 3),
        port("g1", "green", "h1", 1),
        port("g2", "green", "h2", 2),
    ],
)
# One of everything changes: a segment goes, one comes, one changes; ports move, go and come; rows of every table.
AFTER = intent(
    [network("blue", 5000, mtu=1400), network("red", 7000)],
    [port("a", "blue", "h1", 1), port("b", "blue", "h3", 2), port("d", "blue", "h1", 4), port("r", "red", "h1", 1)],
)
KINDS = (PutSegment, DropSegment, PutPort, DropPort, PutRows, DropRows)


async def fed(of: Intent, datapath: FakeDatapath, node: str = "h1") -> tuple[Store, Agent]:
    """A store with this intent, and the node's agent with a snapshot of it, not running by itself."""
    store = open_store("memory:")
    await update(store, KEYS, lambda stored: of)
    agent = Agent(store, node, datapath)
    agent.feed.load(await store.snapshot(agent.feed.prefixes))
    return store, agent


async def changed(store: Store, agent: Agent, to: Intent) -> None:
    await update(store, KEYS, lambda stored: to)
    agent.feed.load(await store.snapshot(agent.feed.prefixes))


def holds(datapath: FakeDatapath, want: Intent, node: str = "h1") -> bool:
    world = World.of(want, {node: datapath.facts(node, want.nodes[node].vtep)})
    plan = compile_node(world, node)
    return (datapath.segments, datapath.tables, datapath.ports) == (plan.segments, plan.tables, plan.ports)


def run(main: Any) -> None:
    asyncio.run(main)


def test_it_applies_once_and_then_nothing() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        _, agent = await fed(BEFORE, datapath)
        assert agent.reconcile()
        assert holds(datapath, BEFORE)
        done = len(datapath.log)
        assert done > 0
        assert agent.reconcile()
        agent._observed = None  # as after a resync
        assert agent.reconcile()
        assert len(datapath.log) == done
        assert agent.status.in_sync

    run(main())


def test_a_successor_finds_nothing_to_do() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        datapath.log.clear()
        successor = Agent(store, "h1", datapath)
        successor.feed.load(await store.snapshot(successor.feed.prefixes))
        assert successor.reconcile()
        assert datapath.log == []

    run(main())


def test_nothing_is_touched_before_the_snapshot() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        await fed(BEFORE, datapath)
        agent = Agent(open_store("memory:"), "h1", datapath)
        assert agent.reconcile()
        assert (datapath.observations, datapath.log) == (0, [])

    run(main())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["nth", "kind", "half", "raise", "observe"])
def test_every_fault_in_every_operation_heals(fault: str, kind: type) -> None:
    """While the fault lasts the agent says so; once it is gone, retrying ends in the plan."""

    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        await changed(store, agent, AFTER)
        first = next(i for i, op in enumerate(_pending(agent, datapath)) if isinstance(op, kind))
        settings: dict[str, dict[str, Any]] = {
            "nth": {"fail_nth": first + 1},
            "kind": {"fail_kinds": (kind,)},
            "half": {"fail_half": True},
            "raise": {"raise_after": first},
            "observe": {"fail_observe": True},
        }
        datapath.faults = Faults(**settings[fault])
        for _ in range(3):
            agent.reconcile()
            agent._observed = None
        if fault not in ("nth", "raise"):  # those come once, and the retry is through
            assert not agent.status.in_sync
            assert agent.status.errors
        datapath.faults = Faults()
        for _ in range(3):
            agent.reconcile()
        assert holds(datapath, AFTER)
        assert agent.status.in_sync
        assert agent.status.errors == ()

    run(main())


def _pending(agent: Agent, datapath: FakeDatapath) -> list[Any]:
    from weft.plan.diff import diff

    return diff(compile_node(agent.feed.world, "h1"), datapath.observe())


@pytest.mark.parametrize("what", ["segment", "port", "row", "strange row", "flaw"])
def test_drift_is_put_back_and_counted(what: str) -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        _, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        key = BEFORE.networks["blue"].key
        if what == "segment":
            del datapath.segments[key], datapath.tables[key]
        elif what == "port":
            del datapath.ports["a"]
        elif what == "flaw":
            datapath.flaws[key] = ("wx5000 is down",)
        else:
            rows = tables.fdb([] if what == "row" else [("02:66:66:66:66:66", "192.168.33.66")])
            datapath.tables[key] = replace(datapath.tables[key], fdb=rows)
        datapath.touch("somebody", key)
        agent.touched()
        assert agent.reconcile()
        assert holds(datapath, BEFORE)
        assert agent.status.drift > 0

    run(main())


def test_a_broken_record_holds_its_network_and_no_other() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        await update(store, KEYS, lambda stored: AFTER)
        await store.transact([], [Put(f"{KEYS.intent}networks/blue", b'{"vni": "no number"')])
        agent.feed.load(await store.snapshot(agent.feed.prefixes))
        agent.reconcile()
        blue, red = BEFORE.networks["blue"].key, AFTER.networks["red"].key
        assert datapath.segments[blue].mtu == 1450, "held as it was"
        assert "a" in datapath.ports
        assert red in datapath.segments, "the others go on"
        assert not agent.status.in_sync
        assert any("blue" in error and "networks/blue" in error for error in agent.status.errors)
        await store.transact([], [Put(KEYS.of(AFTER.networks["blue"]), encode(AFTER.networks["blue"]))])
        agent.feed.load(await store.snapshot(agent.feed.prefixes))
        assert agent.reconcile()
        assert holds(datapath, AFTER)

    run(main())


def test_after_a_restart_a_broken_network_stays_as_observed() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        await store.transact([], [Put(f"{KEYS.intent}networks/blue", b"[]")])
        datapath.log.clear()
        successor = Agent(store, "h1", datapath)
        successor.feed.load(await store.snapshot(successor.feed.prefixes))
        successor.reconcile()
        assert datapath.log == []
        assert holds(datapath, BEFORE)

    run(main())


def test_a_plan_that_the_host_cannot_carry_leaves_the_last_good_one() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        await changed(store, agent, intent([network("blue", 5000, mtu=9000)], list(BEFORE.ports.values())[:3]))
        agent.reconcile()
        assert datapath.segments[BEFORE.networks["blue"].key].mtu == 1450
        assert BEFORE.networks["green"].key not in datapath.segments
        assert any("9000" in error for error in agent.status.errors)

    run(main())


def test_cleanup_removes_all() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        _, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        assert cleanup(datapath, "h1").ok
        assert (datapath.segments, datapath.ports) == ({}, {})

    run(main())


def test_a_fleet_follows_the_store_and_reports() -> None:
    async def main() -> None:
        store = open_store("memory:")
        await update(store, KEYS, lambda stored: BEFORE)
        paths = {name: FakeDatapath() for name in BEFORE.nodes}
        agents = [asyncio.create_task(Agent(store, name, path).run()) for name, path in paths.items()]
        try:
            await wait_in_sync(store, KEYS, paths, PATIENCE)
            assert all(holds(path, BEFORE, name) for name, path in paths.items())
            await update(store, KEYS, lambda stored: AFTER)
            await wait_in_sync(store, KEYS, paths, PATIENCE)
            assert all(holds(path, AFTER, name) for name, path in paths.items())
            reports, alive = await read(store, KEYS)
            assert alive == set(paths)
            assert all(report.in_sync for report in reports.values())
        finally:
            for agent in agents:
                agent.cancel()
            await asyncio.gather(*agents, return_exceptions=True)

    run(main())


def test_waiting_in_vain_names_the_nodes_and_their_reasons() -> None:
    async def main() -> None:
        store = open_store("memory:")
        await update(store, KEYS, lambda stored: BEFORE)
        bad = Status(node="h1", version="0", datapath="kernel", errors=("disk on fire",))
        await store.transact([], [Put(f"{KEYS.status}h1", encode(bad))])
        with pytest.raises(Exception, match=r"(?s)h1: disk on fire.*h2: its agent has not reported"):
            await wait_in_sync(store, KEYS, ["h1", "h2"], 0.05)

    run(main())


def test_waiting_for_a_silent_node_does_not_blame_the_others() -> None:
    async def main() -> None:
        store = open_store("memory:")
        await update(store, KEYS, lambda stored: BEFORE)
        agent = asyncio.create_task(Agent(store, "h1", FakeDatapath()).run())
        try:
            await wait_in_sync(store, KEYS, ["h1"], PATIENCE)
            told: list[int] = []
            with pytest.raises(WeftError, match="h2: its agent has not reported") as caught:
                await wait_in_sync(store, KEYS, ["h1", "h2"], 0.05, lambda ready, *_: told.append(ready))
            assert "h1:" not in str(caught.value)
            assert set(told) == {1}
        finally:
            agent.cancel()
            await asyncio.gather(agent, return_exceptions=True)

    run(main())


def test_waiting_counts_what_an_apply_only_removes() -> None:
    async def main() -> None:
        store = open_store("memory:")
        await update(store, KEYS, lambda stored: BEFORE)
        agent = asyncio.create_task(Agent(store, "h1", FakeDatapath()).run())
        await wait_in_sync(store, KEYS, ["h1"], PATIENCE)
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)
        await update(store, KEYS, lambda stored: replace(BEFORE, ports={}))
        with pytest.raises(WeftError, match="h1: has reached revision"):
            await wait_in_sync(store, KEYS, ["h1"], 0.05)

    run(main())


def test_an_undeclared_node_says_so() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        _, agent = await fed(replace(BEFORE, nodes={}), datapath)
        agent.reconcile()
        assert any("h1 is not declared" in error for error in agent.status.errors)
        assert datapath.log == []

    run(main())


def test_an_undeclared_node_leaves_its_host_as_it_is() -> None:
    """A mistyped --node, or a file that lost the node: no reason to take down what works."""

    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        datapath.log.clear()
        await changed(store, agent, replace(BEFORE, nodes={}, ports={}))
        agent.reconcile()
        assert datapath.log == []
        assert not agent.status.in_sync
        (error,) = agent.status.errors
        assert "h1 is not declared, so what this host has stays as it is" in error
        _, mistyped = await fed(BEFORE, datapath, node="h9")
        mistyped.reconcile()
        assert datapath.log == []
        await changed(store, agent, BEFORE)
        agent.reconcile()
        assert (datapath.log, agent.status.in_sync) == ([], True)

    run(main())


def test_arp_mode_reaches_the_datapath() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(BEFORE, datapath)
        agent.reconcile()
        flooding = replace(BEFORE, networks=BEFORE.networks | {"blue": network("blue", 5000, arp=Arp.FLOOD)})
        await changed(store, agent, flooding)
        agent.reconcile()
        key = BEFORE.networks["blue"].key
        assert datapath.segments[key].arp is Arp.FLOOD
        assert len(datapath.tables[key].neighbors) == 0
        assert compile_node(agent.feed.world, "h9") == NodePlan("h9")

    run(main())
