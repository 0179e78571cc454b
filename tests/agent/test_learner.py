"""Local learning in running agents: from a frame on one node to rows on the others, past restarts and lost stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.agent.learning_fleet import KEY, MAC, fleet_intent
from tests.agent.waiting import PATIENCE, eventually
from weft.agent import contact
from weft.agent.agent import Agent
from weft.agent.sighting import Probe, Sighting, question, sighting
from weft.agent.status import read, wait_in_sync
from weft.l2.datapath import Heard, Punted, ToPorts
from weft.l2.fake import FakeDatapath
from weft.model.endpoint import Endpoint
from weft.model.errors import Kind, WeftError
from weft.plan.tables import Table, text
from weft.store import Compare, Delete, Outcome, Put, Store, open_store
from weft.store.intent import update
from weft.store.memory import MemoryStore
from weft.store.records import Keys, encode
from weft.wire import arp, ethernet, nd
from weft.wire.ethernet import Ethernet
from weft.wire.packet import dissect

KEYS = Keys()
RECORD = KEYS.endpoint(Endpoint(key=KEY, mac=MAC, node="h1"))


def announcement(mac: str = MAC, ip: str = "10.1.1.50") -> bytes:
    return Ethernet("ff:ff:ff:ff:ff:ff", mac, ethernet.ARP).encode(arp.request(mac, ip, ip).encode())


class Lossy(MemoryStore):
    """A store that can be out of reach for who writes endpoints."""

    away = False

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        if self.away:
            raise WeftError(Kind.UNREACHABLE, "nobody answers", where="test")
        return await super().transact(compares, writes)


class Running:
    """Agents of h1, h2, h3 on fake datapaths."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.paths = {name: FakeDatapath() for name in ("h1", "h2", "h3")}
        self.agents: dict[str, Agent] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, *names: str) -> None:
        for name in names:
            self.agents[name] = Agent(self.store, name, self.paths[name])
            self.tasks[name] = asyncio.create_task(self.agents[name].run())
        await wait_in_sync(self.store, KEYS, names, PATIENCE)

    async def stop(self, *names: str) -> None:
        for name in names:
            self.tasks[name].cancel()
        await asyncio.gather(*(self.tasks.pop(name) for name in names), return_exceptions=True)

    def see(self, node: str, what: Punted | Heard | None = None) -> None:
        self.paths[node].hear(what or Punted(KEY, announcement(), port=f"t{node[1:]}"))
        self.agents[node].learner.hear()

    def fdb(self, node: str) -> dict[str, str]:
        return dict(text(Table.FDB, self.paths[node].tables[KEY].fdb))  # type: ignore[arg-type]

    def neighbors(self, node: str) -> dict[str, str]:
        return dict(text(Table.NEIGHBORS, self.paths[node].tables[KEY].neighbors))  # type: ignore[arg-type]

    async def stored(self) -> dict[str, bytes]:
        return {item.key: item.value for item in (await self.store.snapshot((KEYS.endpoints,))).items}


def running(main: Callable[[Running], Awaitable[None]], store: Store | None = None) -> None:
    async def all_() -> None:
        world = Running(store or open_store("memory:"))
        await update(world.store, KEYS, lambda stored: fleet_intent())
        try:
            await world.start("h1", "h2", "h3")
            await main(world)
        finally:
            await world.stop(*world.tasks)

    asyncio.run(all_())


def test_one_frame_makes_rows_on_every_node_and_a_move_changes_them() -> None:
    async def main(world: Running) -> None:
        world.see("h1")
        assert await eventually(lambda: world.fdb("h3").get(MAC) == "192.168.33.11" == world.fdb("h2").get(MAC))
        assert world.neighbors("h1")["10.1.1.50"] == MAC
        assert MAC not in world.fdb("h1")
        observations = world.paths["h3"].observations
        world.see("h2")
        assert await eventually(lambda: world.fdb("h3")[MAC] == "192.168.33.12" == world.fdb("h1").get(MAC))
        assert await eventually(lambda: MAC not in world.fdb("h2"))
        assert await eventually(lambda: world.agents["h1"].learner.machine.record(KEY, MAC) is None)
        while RECORD in await world.stored():
            await asyncio.sleep(0.005)
        assert world.paths["h3"].observations == observations, "a row costs no look at everything"
        reports, _ = await read(world.store, KEYS)
        assert all(report.in_sync and not report.drift for report in reports.values())

    running(main)


def test_a_restarted_agent_keeps_its_records_and_asks() -> None:
    async def main(world: Running) -> None:
        world.see("h1")
        assert await eventually(lambda: MAC in world.fdb("h3"))
        before = await world.stored()
        await world.stop("h1")
        world.paths["h1"].log.clear()
        await world.start("h1")
        assert await eventually(lambda: bool(world.paths["h1"].injected))
        probe = Probe(KEY, "t1", MAC, "10.1.1.50")
        assert world.paths["h1"].injected[0] == (KEY, question(probe, world.paths["h1"].speaker(KEY)), ToPorts("t1"))
        assert await world.stored() == before
        assert world.paths["h1"].log == []

    running(main)


def test_learning_goes_on_without_a_store_and_is_written_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "_PAUSES", (0.01, 0.02))
    store = Lossy()

    async def main(world: Running) -> None:
        store.away = True
        world.see("h1")
        assert await eventually(lambda: world.neighbors("h1").get("10.1.1.50") == MAC)
        assert await world.stored() == {}
        store.away = False
        assert await eventually(lambda: world.fdb("h3").get(MAC) == "192.168.33.11")

    running(main, store)


def test_a_record_of_ours_that_somebody_else_deletes_is_put_back() -> None:
    async def main(world: Running) -> None:
        world.see("h1")
        assert await eventually(lambda: MAC in world.fdb("h3"))
        gone = (await world.store.transact([], [Delete(RECORD)])).revision
        changes = world.store.watch((RECORD,), gone)  # that it was away for a moment need not be seen in a table
        told = [(await anext(changes)).changes[0].value for _ in range(2)]
        assert told[0] is None
        assert told[1] is not None
        assert await eventually(lambda: MAC in world.fdb("h3"))

    running(main)


def test_hostile_records_of_others_harm_nobody() -> None:
    async def main(world: Running) -> None:
        key = KEYS.endpoint(Endpoint(key=KEY, mac=MAC, node="h2"))
        lies: list[Any] = [
            b"\xff",
            b"{}",
            encode(Endpoint(key=KEY, mac=MAC, node="h3")),
            encode(Endpoint(key=KEY, mac=MAC, node="h2", ips=("10.1.1.300",))),
            encode(Endpoint(key=KEY, mac=MAC, node="h2", sequence=1 << 62, ips=("10.1.1.1",) * 3)),
        ]
        for lie in lies:
            await world.store.transact([], [Put(key, lie)])
        await world.store.transact(
            [],
            [
                Put(
                    f"{KEYS.endpoints}5000/01:00:5e:00:00:01/h2",
                    encode(Endpoint(key=KEY, mac="01:00:5e:00:00:01", node="h2")),
                )
            ],
        )
        world.see("h1", Punted(KEY, announcement("02:aa:00:00:00:09", "10.1.1.59"), port="t1"))
        assert await eventually(lambda: "02:aa:00:00:00:09" in world.fdb("h3"))
        assert all(not task.done() for task in world.tasks.values())
        assert "01:00:5e:00:00:01" not in world.fdb("h3")

    running(main)


def test_what_is_worth_a_look_is_in_the_status() -> None:
    async def main(world: Running) -> None:
        world.see("h1", Punted(KEY, announcement("02:00:00:00:00:ca", "10.1.1.202"), port="t1"))
        words = "02:00:00:00:00:ca is seen here, but port t2 on h2"
        assert await eventually(lambda: words in str(world.agents["h1"].status))
        async with asyncio.timeout(PATIENCE):
            while words not in (told := str((await read(world.store, KEYS))[0]["h1"].notes)):
                await asyncio.sleep(0.02)
        assert told.count(words) == 1

    running(main)


@pytest.mark.parametrize("cut", range(0, 90, 7))
def test_half_a_frame_is_no_sighting_of_an_address(cut: int) -> None:
    probe = Probe(KEY, "t1", MAC, "fd01::1")
    for frame in (announcement(), question(probe, MAC)):
        seen = sighting(Punted(KEY, frame[:cut], port="t1"))
        assert seen is None or seen.ip in (None, "10.1.1.50") or cut >= len(frame)


def test_what_is_said_of_others_is_not_learned() -> None:
    other = "02:aa:00:00:00:07"
    lie = Ethernet("ff:ff:ff:ff:ff:ff", MAC, ethernet.ARP).encode(arp.request(other, "10.1.1.50", "10.1.1.9").encode())
    probe = Ethernet("ff:ff:ff:ff:ff:ff", MAC, ethernet.ARP).encode(arp.request(MAC, "0.0.0.0", "10.1.1.9").encode())
    for frame in (lie, probe):
        assert sighting(Punted(KEY, frame, port="t1")) == Sighting(KEY, MAC, "t1", None)


def test_a_question_for_an_ipv6_host_is_for_it_alone() -> None:
    packet = dissect(question(Probe(KEY, "t1", MAC, "fd01::1"), "02:00:00:00:fa:ce"))
    assert isinstance(packet.nd, nd.NeighborSolicitation)
    assert packet.ethernet is not None
    assert packet.ip is not None
    assert (packet.ethernet.dst, packet.ip.dst, packet.ip.ttl, packet.ip.src) == (
        MAC,
        "fd01::1",
        255,
        "fe80::ff:fe00:face",
    )
