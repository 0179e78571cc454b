"""A store that fails: told once for each reason, everything said again when it is back, and nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from tests.agent.test_agent import BEFORE, KEYS
from tests.agent.waiting import PATIENCE, eventually
from weft.agent import contact
from weft.agent.agent import Agent
from weft.agent.contact import Contact, pause
from weft.agent.status import read, wait_in_sync
from weft.l2.fake import FakeDatapath
from weft.model.errors import Kind, WeftError
from weft.plan.operations import DropRows
from weft.plan.tables import Table
from weft.store import Compare, Delete, Outcome, Put
from weft.store.intent import APPLYING, INDEXED, update
from weft.store.late import LateStore
from weft.store.memory import Memory, MemoryStore


def away(why: str) -> WeftError:
    return WeftError(Kind.UNREACHABLE, why, where="test")


class Moody(MemoryStore):
    """Fails where `mood` raises, hangs where `hangs`; `hanging`: calls that do."""

    mood: str = ""
    hangs = False
    hanging = 0

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        if self.mood:
            raise away(self.mood)
        self.hanging += 1
        while self.hangs:
            await asyncio.sleep(0.01)
        self.hanging -= 1
        return await super().transact(compares, writes, durable=durable)


def test_each_reason_is_told_once_in_an_outage(capsys: pytest.CaptureFixture[str]) -> None:
    of = Contact("h1", lambda: 0.0)
    for _ in range(3):
        for reason in ("no answer", "no word"):
            of.trouble(away(reason))
    of.answered(7)
    of.answered(8)
    of.trouble(away("no answer"))
    lines = capsys.readouterr().out.splitlines()
    assert [("answers again" in line, "no word" in line) for line in lines] == [
        (False, False), (False, True), (True, False), (False, False),
    ]  # fmt: skip
    assert of.error == "test: no answer"


def test_pauses_stay_short_enough_to_be_back_in_time() -> None:
    assert all(0.1 <= pause(1) <= 0.3 and 1.0 <= pause(failures) <= 3.0 for failures in (5, 50, 5000) for _ in range(9))


def test_an_agent_without_a_store_says_why_and_waits_for_it() -> None:
    async def main() -> None:
        memory, datapath = Memory(), FakeDatapath()
        there = [False]

        def opening() -> MemoryStore:
            if not there[0]:
                raise away("no file")
            return MemoryStore(memory)

        agent = Agent(LateStore("memory:", opening), "h1", datapath)
        work = asyncio.create_task(agent.run())
        assert await eventually(lambda: bool(agent.status.errors))
        assert agent.status.errors == ("waits for its store, and leaves this host as it is: test: no file",)
        assert (agent.reconcile(), datapath.observations, datapath.log) == (True, 0, [])
        await update(MemoryStore(memory), KEYS, lambda stored: BEFORE)
        there[0] = True
        assert await eventually(lambda: agent.status.in_sync)
        assert datapath.log
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(main())


def test_half_of_a_large_apply_is_nobodys_intent() -> None:
    async def main() -> None:
        memory, datapath = Memory(), FakeDatapath()
        store = MemoryStore(memory)
        await update(store, KEYS, lambda stored: BEFORE)
        whole = {item.key: item.value for item in (await store.snapshot([KEYS.intent])).items}
        agent = Agent(store, "h1", datapath)
        work = asyncio.create_task(agent.run())
        assert await eventually(lambda: agent.status.in_sync)
        done = len(datapath.log)
        await store.transact([], [Put(KEYS.guard, APPLYING)])
        gone = await store.transact([], [Delete(key) for key in whole if "/ports/" in key])
        assert await eventually(lambda: agent.feed.revision >= gone.revision)
        agent._wake.set()
        await asyncio.sleep(0.1)
        assert len(datapath.log) == done
        await store.transact([], [Put(KEYS.guard, INDEXED)])
        assert await eventually(lambda: len(datapath.log) > done and not datapath.ports)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(main())


def test_what_was_not_written_is_said_again_and_nothing_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "_PAUSES", (0.01, 0.02))

    async def main() -> None:
        memory, datapath = Memory(), FakeDatapath()
        reader, store = MemoryStore(memory), Moody(memory)
        await update(reader, KEYS, lambda stored: BEFORE)
        agent = Agent(store, "h1", datapath)
        work = asyncio.create_task(agent.run())
        assert await eventually(lambda: agent.status.in_sync)
        for mood, hangs in (("no space left", False), ("", True)):
            store.mood, store.hangs = mood, hangs
            for _ in range(2):
                drift = agent.status.drift
                tampered(datapath)
                agent._observed = None
                agent._wake.set()
                assert await eventually(lambda: agent.status.drift > drift and agent.status.in_sync)  # noqa: B023
            store.mood, store.hangs = "", False
            said = agent.status.drift
            assert await eventually(lambda: agent.contact.error == "" or not mood)  # noqa: B023
            async with asyncio.timeout(PATIENCE):
                while (told := (await read(reader, KEYS))[0].get("h1")) is None or told.drift < said:
                    await asyncio.sleep(0.005)
            assert told.drift == said
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(main())


def tampered(datapath: FakeDatapath) -> None:
    """Somebody deletes a segment's FDB rows."""
    key, tables = next((key, tables) for key, tables in datapath.tables.items() if len(tables.fdb))
    datapath.apply([DropRows(key, Table.FDB, tables.fdb)])


def test_a_store_as_it_was_before_is_told_everything_again() -> None:
    async def main() -> None:
        memory = Memory()
        store = MemoryStore(memory)
        await update(store, KEYS, lambda stored: BEFORE)
        agent = Agent(store, "h1", FakeDatapath())
        work = asyncio.create_task(agent.run())
        await wait_in_sync(store, KEYS, ["h1"], PATIENCE)
        await store.transact([], [Delete(f"{KEYS.facts}h1"), Delete(f"{KEYS.status}h1")])
        agent._reporter.anew()  # as after any new snapshot
        await wait_in_sync(store, KEYS, ["h1"], PATIENCE)
        told = (await store.snapshot([KEYS.facts, KEYS.status])).items
        assert {item.key for item in told} == {f"{KEYS.facts}h1", f"{KEYS.status}h1"}
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(main())


def test_a_store_that_comes_while_a_report_is_written_is_told_everything_too() -> None:
    """That report has begun for the store before, and told only what that one did not know."""

    async def main() -> None:
        memory = Memory()
        reader, store = MemoryStore(memory), Moody(memory)
        await update(reader, KEYS, lambda stored: BEFORE)
        agent = Agent(store, "h1", FakeDatapath())
        work = asyncio.create_task(agent.run())
        await wait_in_sync(reader, KEYS, ["h1"], PATIENCE)
        store.hangs = True
        agent._reporter.say(agent._facts, replace(agent.status, drift=7))
        assert await eventually(lambda: store.hanging)
        await reader.transact([], [Delete(f"{KEYS.facts}h1")])
        agent._reporter.anew()
        store.hangs = False
        await wait_in_sync(reader, KEYS, ["h1"], PATIENCE)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(main())
