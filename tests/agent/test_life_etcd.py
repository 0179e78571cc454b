"""etcd goes wrong under running agents: not a packet is lost, no table shrinks, and they follow again by themselves.

One fleet goes through all of it, one fault after the other, while a port pings another one every 10 ms. Each fault
lasts as long as agents need to notice it, and what they cost meanwhile is measured.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent.etcd_fleet import EtcdFleet, etcd_fleet
from tests.agent.life_process import KEYS, PATIENCE, none_lost
from tests.l2.l2_world import ip, joined
from weft.agent.status import read, wait_in_sync
from weft.store import open_store

pytestmark = pytest.mark.system

RECOVERED = 10.0  # seconds after the store's return: docs/store.md
CPU = 0.10  # of one core, while the store is away
_applied = 1  # hosts behind the second node, as last applied


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdFleet]:
    with joined() as world, etcd_fleet(world, tmp_path_factory.mktemp("etcd")) as made:
        yield made


@contextmanager
def watched(fleet: EtcdFleet) -> Iterator[None]:
    """Nothing is lost and nothing goes away while the block lasts."""
    with fleet.probing() as probe:
        yield
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"
    assert fleet.erased() == []


def away(fleet: EtcdFleet, seconds: float) -> None:
    """Until both agents have said that the store is away, and so many seconds in any case; what they cost, too."""
    before, begun = fleet.cpu(), time.monotonic()
    told = [len(fleet.warnings(host)) for host in (0, 1)]
    fleet.since(begun, lambda: all(len(fleet.warnings(host)) > told[host] for host in (0, 1)))
    time.sleep(max(0.0, seconds - (time.monotonic() - begun)))
    lasted = time.monotonic() - begun
    for used in (after - then for after, then in zip(fleet.cpu(), before, strict=True)):
        assert used < CPU * lasted, f"{used:.2f} s of CPU in {lasted:.1f} s"


def recovered(fleet: EtcdFleet, returned: float) -> float:
    """Seconds from `returned` until both have carried out and reported what is applied now, and are alive. Those for
    which the machine let them wait for a CPU do not count."""
    global _applied
    _applied += 1
    waited = fleet.waited()
    fleet.apply(fleet.intent(remote=_applied))

    async def all_of_it() -> float:
        store = open_store(fleet.url)
        try:
            await wait_in_sync(store, KEYS, fleet.nodes, PATIENCE)
            while (await read(store, KEYS))[1] != set(fleet.nodes):
                assert time.monotonic() - returned < PATIENCE, "an agent that lives is not alive in the store"
                await asyncio.sleep(0.05)
            return time.monotonic() - returned - (fleet.waited() - waited)
        finally:
            await store.close()

    return fleet.run(all_of_it())


def test_stopped(fleet: EtcdFleet) -> None:
    with watched(fleet):
        fleet.member.stop()
        away(fleet, 5)
        fleet.member.start()
        fleet.member.wait_ready()
        assert recovered(fleet, time.monotonic()) < RECOVERED


def test_frozen(fleet: EtcdFleet) -> None:
    with watched(fleet):
        fleet.member.freeze()
        away(fleet, 6)
        fleet.member.thaw()
        assert recovered(fleet, time.monotonic()) < RECOVERED


def test_cut_off_and_compacted_meanwhile(fleet: EtcdFleet) -> None:
    """What they have not seen is no longer told one by one."""
    with watched(fleet):
        fleet.drop(True)
        fleet.apply(fleet.intent(remote=_applied + 5))
        fleet.apply(fleet.intent(remote=_applied))
        compact(fleet)
        away(fleet, 5)
        fleet.drop(False)
        assert recovered(fleet, time.monotonic()) < RECOVERED


def test_compacted_under_a_watching_agent(fleet: EtcdFleet) -> None:
    with watched(fleet):
        compact(fleet)
        assert recovered(fleet, time.monotonic()) < RECOVERED


def compact(fleet: EtcdFleet) -> None:
    """Etcd forgets all history."""
    shown = json.loads(fleet.member.etcdctl("endpoint", "status", "-w", "json"))
    fleet.member.etcdctl("compact", str(shown[0]["Status"]["header"]["revision"]))


def test_leases_that_expired(fleet: EtcdFleet) -> None:
    """To an agent that lives it is the same whether time or somebody ended its lease."""
    with watched(fleet):
        for lease in fleet.member.etcdctl("lease", "list").splitlines()[1:]:
            fleet.member.etcdctl("lease", "revoke", lease)
        assert recovered(fleet, time.monotonic()) < RECOVERED


def test_restored_from_a_snapshot(fleet: EtcdFleet, tmp_path: Path) -> None:
    """As it was before the agents' last words: all of them are said again."""
    with watched(fleet):
        fleet.forget(0)
        fleet.member.etcdctl("del", f"{KEYS.facts}{fleet.nodes[0]}")
        fleet.member.etcdctl("snapshot", "save", str(tmp_path / "backup"))
        fleet.member.stop()
        fleet.restore(tmp_path / "backup")
        fleet.member.start()
        fleet.member.wait_ready()
        assert recovered(fleet, time.monotonic()) < RECOVERED


def test_each_cause_was_told_once(fleet: EtcdFleet) -> None:
    """Of all that happened above: few lines, and the end of each outage."""
    for host in (0, 1):
        assert len(fleet.warnings(host)) <= 8, fleet.warnings(host)
        assert sum(line["event"] == "store answers again" for line in fleet.logged(host)) >= 3


def test_what_goes_away_would_have_been_seen(fleet: EtcdFleet) -> None:
    command = "bridge fdb del 02:00:00:00:00:0b dev wx5000 self"
    ip(fleet.world.hosts[0], *command.split())
    assert any("02:00:00:00:00:0b" in line and "wx5000" in line for line in fleet.erased())
