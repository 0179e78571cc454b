"""The ARP relay under the agent, on the fake datapath: what was learned is rows of the plan, whoever comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.fleet import network, nodes, port
from tests.wire.relay_fabric import host_mac, read, request
from weft.agent.agent import Agent
from weft.agent.cleanup import cleanup
from weft.compile.macs import irb_mac
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.l2.datapath import Punted, Sought, ToPorts, ToTunnels
from weft.l2.fake import FakeDatapath, Faults
from weft.model.intent import Intent
from weft.model.network import Arp, Learning
from weft.model.router import Router
from weft.plan import tables
from weft.plan.operations import DropRows, PutRows
from weft.plan.router import RouterDevice
from weft.plan.tables import Table, Tables, text
from weft.store import Store, open_store
from weft.store.intent import update
from weft.store.records import Keys
from weft.wire import arp
from weft.wire.ethernet import ARP, Ethernet

KEYS = Keys()
TEN = network("ten", 10, learning=Learning.DATA_PLANE, arp=Arp.PROXY)
TENANT = Router(name="t", gateways={"ten": ("10.1.1.1",)})
EDGE = Router(name="e", gateways={"ten": ("10.1.1.2",)}, placement=("h1",))
INTENT = Intent(
    nodes(2),
    {"ten": TEN},
    {"t": TENANT, "e": EDGE},
    {"a": port("a", "ten", "h1", 11), "b": port("b", "ten", "h2", 12)},
)
DEVICES = (RouterDevice("t", "wi10"), RouterDevice("e", "wi10"))
FAR, NEAR = irb_mac("t", TEN.key, "h2"), irb_mac("t", TEN.key, "h1")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def fed(
    datapath: FakeDatapath, of: Intent = INTENT, now: Callable[[], float] | None = None
) -> tuple[Store, Agent]:
    store = open_store("memory:")
    await update(store, KEYS, lambda stored: INTENT)
    agent = Agent(store, "h1", datapath, now=now or Clock())
    agent.feed.load(await store.snapshot(agent.feed.prefixes))
    assert agent.reconcile()
    return store, agent


def says(agent: Agent, datapath: FakeDatapath, frame: bytes, **where: str) -> None:
    datapath.hear(Punted(TEN.key, frame, **where))
    agent.learner.hear()
    assert agent.reconcile()


def answer(ip: str) -> bytes:
    body = arp.reply(arp.request(NEAR, "10.1.1.11", ip), FAR)
    return Ethernet(NEAR, FAR, ARP).encode(body.encode())


def learn(agent: Agent, datapath: FakeDatapath) -> None:
    says(agent, datapath, request(host_mac("10.1.1.11"), "10.1.1.11", "10.1.1.12"), port="a")
    says(agent, datapath, answer("10.1.1.12"), vtep="192.168.33.12")


def rows(datapath: FakeDatapath, device: RouterDevice) -> dict[str, str]:
    held = datapath.router_tables.get(device, Tables.none()).neighbors
    return {row[0]: row[1] for row in text(Table.NEIGHBORS, held)}


LEARNED = {"10.1.1.11": host_mac("10.1.1.11"), "10.1.1.12": FAR}


def run(main: Awaitable[None]) -> None:
    asyncio.run(main)  # type: ignore[arg-type]


def test_what_is_learned_is_rows_of_every_router_there_and_a_resync_leaves_them() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        _, agent = await fed(datapath)
        assert datapath.watched == {TEN.key}
        edge = irb_mac("e", TEN.key)
        assert rows(datapath, DEVICES[0]) == {"10.1.1.2": edge}, "routers of one node need not ask for each other"
        learn(agent, datapath)
        key, frame, to = datapath.injected[0]
        assert (key, to, read(frame)[1].sender_mac) == (TEN.key, ToTunnels(), NEAR)
        assert rows(datapath, DEVICES[0]) == LEARNED | {"10.1.1.2": edge}
        assert rows(datapath, DEVICES[1]) == LEARNED | {"10.1.1.1": NEAR}
        seen, done = datapath.observations, len(datapath.log)
        says(agent, datapath, answer("10.1.1.12"), vtep="192.168.33.12")
        assert (datapath.observations, len(datapath.log)) == (seen, done), "known already: nothing is to do"
        agent._observed = None
        assert agent.reconcile()
        assert len(datapath.log) == done
        assert agent.status.in_sync
        assert agent.status.rows == sum(len(rows(datapath, device)) for device in DEVICES) + 1

    run(main())


def test_a_restarted_agent_takes_the_rows_over_and_asks_for_them() -> None:
    async def main() -> None:
        clock, datapath = Clock(), FakeDatapath()
        store, agent = await fed(datapath)
        learn(agent, datapath)
        datapath.learned[TEN.key] = Tables(fdb=tables.fdb([(FAR, "192.168.33.12")]))
        done = len(datapath.log)
        again = Agent(store, "h1", datapath, now=clock)
        again.feed.load(await store.snapshot(again.feed.prefixes))
        assert again.reconcile()
        assert len(datapath.log) == done, "nothing was touched"
        datapath.injected.clear()
        clock.now += 6
        again.relays.tick()
        sent = {(read(frame)[0].dst, to) for _, frame, to in datapath.injected}
        assert sent == {(host_mac("10.1.1.11"), ToPorts()), (FAR, ToTunnels())}
        says(again, datapath, request(host_mac("10.1.1.11"), "10.1.1.11", "10.1.1.1"), port="a")
        for _ in range(10):  # the other one is silent
            clock.now += 6
            again.relays.tick()
        assert again.reconcile()
        assert rows(datapath, DEVICES[0]).keys() == {"10.1.1.11", "10.1.1.2"}
        assert isinstance(datapath.log[-1], DropRows)

    run(main())


def test_what_a_router_seeks_is_asked_for_on_ports_and_in_tunnels() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        _, agent = await fed(datapath)
        datapath.hear(Sought(TEN.key, "e/ten", "10.1.1.12"))
        agent.learner.hear()
        said = [(to, read(frame)[1].sender_ip) for _, frame, to in datapath.injected]
        assert said == [(ToPorts(), "10.1.1.2"), (ToTunnels(), "10.1.1.2")]

    run(main())


@pytest.mark.parametrize("kind", [PutRows, DropRows])
def test_rows_that_are_refused_are_tried_again(kind: type) -> None:
    async def main() -> None:
        clock, datapath = Clock(), FakeDatapath()
        _, agent = await fed(datapath, now=clock)
        datapath.faults = Faults(fail_kinds=(kind,))
        frame = request(host_mac("10.1.1.11"), "10.1.1.11", "10.1.1.12")
        for passed in (0, 280, 15, 15, 15):
            clock.now += passed
            if not passed:
                datapath.hear(Punted(TEN.key, frame, port="a"))
                agent.learner.hear()
            agent.relays.tick()
            agent.reconcile()
        datapath.faults = Faults()
        assert agent.reconcile() or agent.reconcile()
        assert rows(datapath, DEVICES[0]).keys() == {"10.1.1.2"}

    run(main())


def test_an_outsiders_hand_is_mended_and_ends_are_ends() -> None:
    async def main() -> None:
        datapath = FakeDatapath()
        store, agent = await fed(datapath)
        learn(agent, datapath)
        datapath.router_tables[DEVICES[0]] = Tables.none()
        agent._observed = None
        assert agent.reconcile()
        assert rows(datapath, DEVICES[0]).keys() == {*LEARNED, "10.1.1.2"}
        gone = Intent(INTENT.nodes, INTENT.networks, INTENT.routers, {"a": INTENT.ports["a"]})
        await update(store, KEYS, lambda stored: gone)
        agent.feed.load(await store.snapshot(agent.feed.prefixes))
        assert agent.reconcile()
        assert rows(datapath, DEVICES[0]).keys() == {"10.1.1.11", "10.1.1.2"}, "h2 has no part in it any more"
        assert cleanup(datapath, "h1").ok
        assert (datapath.segments, datapath.routers) == ({}, {})

    run(main())


def test_a_relayed_gateway_has_the_nodes_own_mac_and_no_anycast_one() -> None:
    plan = compile_node(World.of(INTENT), "h2")
    (irb,) = plan.routers["t"].interfaces
    assert (irb.mac, irb.anycast, irb.addresses, irb.proxy, irb.relayed, irb.asks) == (
        FAR,
        "",
        ("10.1.1.1/24",),
        True,
        True,
        False,
    )
    assert plan.segments[TEN.key].relayed
    assert plan.segments[TEN.key].anycast == ()
    assert plan.ports["b"].isolated
    assert not plan.ports["t/ten"].isolated
