"""The store goes wrong under running agents: one clear line tells of it, traffic goes on, and they recover with it."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.life_process import PATIENCE, Fleet, none_lost
from tests.conftest import REPOSITORY
from tests.l2.l2_world import Underlay, ip
from tests.store.etcd_server import free_port
from weft.agent import local
from weft.agent.status import wait_in_sync
from weft.netlink import namespace
from weft.store import open_store
from weft.store.records import Keys

pytestmark = pytest.mark.system


@pytest.fixture
def fleet(underlay: Underlay, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(underlay, tmp_path)
    yield made
    made.stop()


def files(fleet: Fleet) -> list[Path]:
    return sorted((fleet.path / "store").glob("weft.db*"))


def told(fleet: Fleet, words: str) -> None:
    """Waits until both agents' logs have said it."""
    deadline = time.monotonic() + PATIENCE
    for host in (0, 1):
        while not any(words in str(line.get("error", line["event"])) for line in fleet.logged(host)):
            assert time.monotonic() < deadline, fleet.log(host).read_text()
            time.sleep(0.05)


def follows(fleet: Fleet) -> None:
    """Both agents carry out what is applied now."""
    before = fleet.until(0, lambda status: status.in_sync).rows
    fleet.apply(fleet.intent(remote=3))
    fleet.until(0, lambda status: status.in_sync and status.rows == before + 4)


def saved(fleet: Fleet) -> Path:
    """A copy as an operator would make one, while all run."""
    copy = fleet.path / "copy.db"
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', sys.argv[2:])"
    subprocess.run([sys.executable, "-c", program, fleet.path / "store/weft.db", copy], check=True)
    return copy


def test_an_agent_starts_without_its_store(fleet: Fleet) -> None:
    """It says why it waits, where one asks; what the host has stays as it is; then it follows."""
    fleet.prepare()
    fleet.up()
    away, name = fleet.path / "away", fleet.nodes[0]
    fleet.end(0, signal.SIGTERM)
    fleet.end(1, signal.SIGTERM)
    (fleet.path / "store").rename(away)
    fleet.log(0).unlink()
    ip(fleet.world.hosts[0], "ip", "link", "set", "lo", "up")
    with fleet.probing() as probe:
        port = free_port()
        fleet.start(0, more=("--metrics", str(port)))
        deadline = time.monotonic() + PATIENCE
        while (answer := page(fleet, port))[0] != 503:
            assert time.monotonic() < deadline, fleet.log(0).read_text()
            time.sleep(0.05)
        assert "waits for its store, and leaves this host as it is: " in answer[1]
        assert str(fleet.path / "store/weft.db") in answer[1]
        status = asyncio.run(local.ask(local.default_directory(), name, ask="status"))["status"]
        assert not status["in_sync"]
        assert status["errors"] == [answer[1].strip()]
        time.sleep(3)
        assert [line["event"] for line in fleet.logged(0)] == ["started", "store"], "one line for one reason"
        away.rename(fleet.path / "store")
        fleet.forget(0)
        assert fleet.until(0, lambda status: status.in_sync).operations == 0
        while (answer := page(fleet, port)) != (200, "ok\n"):
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)
        fleet.start(1)
        follows(fleet)
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"


def page(fleet: Fleet, port: int) -> tuple[int, str]:
    """What /healthz answers on the first host; 0 while nobody does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        with namespace.entered(fleet.world.hosts[0]):
            connection.connect()
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def test_removed_and_put_back(fleet: Fleet) -> None:
    fleet.prepare()
    fleet.up()
    away = fleet.path / "away"
    away.mkdir()
    with fleet.probing() as probe:
        for file in files(fleet):
            file.rename(away / file.name)
        told(fleet, "the store's file was removed while in use; put it back: an agent then goes on by itself")
        for file in away.iterdir():
            file.rename(fleet.path / "store" / file.name)
        told(fleet, "store answers again")
        follows(fleet)
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"


def test_removed_and_restored_from_a_copy(fleet: Fleet) -> None:
    fleet.prepare()
    fleet.up()
    copy = saved(fleet)
    with fleet.probing() as probe:
        for file in files(fleet):
            file.unlink()
        told(fleet, "was removed while in use")
        os.rename(copy, fleet.path / "store/weft.db")
        told(fleet, "store answers again")
        follows(fleet)
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"


def test_a_new_and_empty_store_takes_nothing_down(fleet: Fleet) -> None:
    """Somebody removed the file, and the next command made a new one."""
    fleet.prepare()
    fleet.up()
    with fleet.probing() as probe:
        for file in files(fleet):
            file.unlink()
        told(fleet, "was removed while in use")
        asyncio.run(open_store(fleet.url).close())
        status = fleet.until(0, lambda status: bool(status.errors))
        assert "nothing was ever applied to this store, so what this host has stays as it is" in status.errors[0]
        fleet.end(0, signal.SIGKILL)
        fleet.forget(0)
        fleet.start(0)
        fleet.until(0, lambda status: bool(status.errors) and status.operations == 0)
        fleet.apply(fleet.intent())
        status = fleet.until(0, lambda status: status.in_sync)
        assert status.operations == 0, "what it had is what is wanted"
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"


def test_damaged_and_replaced(fleet: Fleet) -> None:
    fleet.prepare()
    fleet.up()
    copy = saved(fleet)
    with fleet.probing() as probe:
        for file in files(fleet):
            with file.open("r+b") as damaged:
                damaged.write(os.urandom(min(file.stat().st_size, 65536)))
        told(fleet, "weft.db")
        fresh = fleet.path / "store/fresh"
        shutil.copy(copy, fresh)
        for file in files(fleet):
            file.unlink()
        fresh.rename(fleet.path / "store/weft.db")
        told(fleet, "store answers again")
        follows(fleet)
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"


def test_a_full_disk(fleet: Fleet) -> None:
    place = fleet.path / "store"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)], check=True)
    try:
        fleet.prepare()
        fleet.up()
        with fleet.probing() as probe:
            filler = place / "filler"
            with pytest.raises(OSError, match="No space left"):
                filler.write_bytes(bytes(1 << 20))
            told(fleet, "no space left; nothing of this was written")
            filler.unlink()
            told(fleet, "store answers again")
            follows(fleet)
        assert none_lost(probe), f"{probe.lost} of {probe.sent}"
    finally:
        fleet.stop()
        subprocess.run(["umount", str(place)], check=True)


WRITER = """
import asyncio, sys
from weft.model.network import Network
from weft.store import open_store
from weft.store.intent import update
from weft.store.records import Keys
async def main(url, name):
    store = open_store(url)
    for number in range(1000000):
        def decide(stored):
            network = Network(name=f"{name}{number % 7}", vni=int(sys.argv[3]) + number % 7, subnets=("10.9.0.0/24",))
            stored.intent.networks.pop(f"{name}{(number + 3) % 7}", None)
            stored.intent.networks[network.name] = network
            return stored.intent
        try:
            await update(store, Keys(), decide)
        except Exception as error:
            print(error, flush=True)
        if number == 0:
            print("ready", flush=True)
asyncio.run(main(*sys.argv[1:3]))
"""


def test_two_writers_at_once_are_killed(fleet: Fleet) -> None:
    """Whole applies or none: whatever two processes were writing, the agents are in sync with what is there."""
    fleet.prepare()
    fleet.up()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    with fleet.probing() as probe:
        for _ in range(2):
            writers = [
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, fleet.url, name, vni], stdout=subprocess.PIPE, env=environment
                )
                for name, vni in (("left", "100"), ("right", "200"))
            ]
            for writer in writers:
                assert writer.stdout is not None
                assert writer.stdout.readline() == b"ready\n"
            time.sleep(0.3)
            for writer in writers:
                writer.kill()
                writer.wait(PATIENCE)
                assert writer.stdout is not None
                writer.stdout.close()

        async def settled() -> None:
            store = open_store(fleet.url)
            try:
                await wait_in_sync(store, Keys(), fleet.nodes, PATIENCE)
            finally:
                await store.close()

        asyncio.run(settled())
        follows(fleet)
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"
