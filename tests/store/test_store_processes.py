"""One sqlite store, several processes: waking, counting, dying."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.store.store_places import soon, take
from weft.store import Store, open_store
from weft.store.inotify import FileBell
from weft.store.schema import _prepare, open_database

WRITER = str(Path(__file__).with_name("store_writer.py"))


@asynccontextmanager
async def writers(count: int, *arguments: str) -> AsyncIterator[list[Process]]:
    """Processes that open the store at once, and are ready; whatever happens, none is left behind."""
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, WRITER, *arguments, stdin=PIPE, stdout=PIPE, env=environment
        )
        for _ in range(count)
    ]
    try:
        assert await soon(asyncio.gather(*(line(process) for process in processes))) == [b"ready\n"] * count
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def line(process: Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


def start(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")


async def finish(processes: list[Process]) -> None:
    """Starts them together, and waits for all to end well."""
    for process in processes:
        start(process)
    assert await soon(asyncio.gather(*(process.wait() for process in processes))) == [0] * len(processes)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/weft.db"


def on_url(url: str, test: Callable[[Store], Awaitable[None]]) -> None:
    async def run() -> None:
        store = open_store(url)
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(run())


@pytest.mark.parametrize("inotify", [True, False])
def test_a_write_of_another_process_wakes_a_watch(url: str, inotify: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.store.inotify.SAFETY_POLL", 1e6)  # rings alone must do
    if not inotify:
        monkeypatch.setattr("weft.store.inotify._watch_file", lambda path: -1)

    async def run(store: Store) -> None:
        async with writers(1, "put", url, "a") as processes:
            woken = asyncio.create_task(take(store.watch(["a"], 2), 1))
            await asyncio.sleep(0.05)  # asleep by now
            assert not woken.done()
            await finish(processes)
            (changes,) = await soon(woken)
            assert changes.changes[0].value == b"from another process"

    on_url(url, run)


def test_a_ring_wakes_without_the_safety_poll(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()

    async def run() -> None:
        bell = FileBell(str(path))
        for _ in range(2):
            waiting = [asyncio.create_task(bell.wait(1e6)) for _ in range(3)]
            await asyncio.sleep(0.01)
            os.utime(path)
            assert len(await soon(asyncio.gather(*waiting))) == 3
        bell.close()

    asyncio.run(run())


def test_compare_and_set_loses_no_increment(url: str) -> None:
    async def run(store: Store) -> None:
        async with writers(4, "count", url, "n", "50") as processes:
            await finish(processes)
        snapshot = await store.snapshot()
        assert [item.value for item in snapshot.items] == [b"200"]
        assert snapshot.revision == 201

    on_url(url, run)


def test_several_processes_may_make_the_file_at_once(url: str) -> None:
    async def run() -> None:
        async with writers(4, "count", url, "n", "1") as processes:
            await finish(processes)

    async def counted(store: Store) -> None:
        assert [item.value for item in (await store.snapshot()).items] == [b"4"]

    asyncio.run(run())
    on_url(url, counted)


def test_a_file_in_the_making_is_looked_at_once(tmp_path: Path) -> None:
    # The maker commits between two reads of the one who looks; those must not be of two moments.
    path = str(tmp_path / "weft.db")
    empty = sqlite3.connect(path)
    empty.execute("PRAGMA journal_mode = WAL")
    looking = sqlite3.connect(path, isolation_level=None, factory=Interrupted)
    _prepare(looking, path)
    assert looking.made, "somebody made the store meanwhile"
    assert looking.execute("SELECT revision FROM state").fetchall() == [(1,)]
    looking.close()
    empty.close()


class Interrupted(sqlite3.Connection):
    """After its first look at whose file it is, another process makes the store."""

    made = False

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:  # type: ignore[override]
        rows = super().execute(sql, *arguments)  # type: ignore[arg-type]
        if sql == "PRAGMA application_id" and not self.made:
            self.made = True
            path = super().execute("PRAGMA database_list").fetchone()[2]
            found = rows.fetchall()
            open_database(path).close()
            return super().execute(f"SELECT {found[0][0]}")
        return rows


def test_a_killed_writer_leaves_whole_transactions(url: str) -> None:
    async def run(store: Store) -> None:
        watch = store.watch([""], 2)
        for round_ in range(5):
            async with writers(1, "pairs", url) as (process,):
                start(process)
                for _ in range(1 + 7 * round_):
                    assert await soon(line(process))
                process.kill()
                rest, _ = await process.communicate()
            confirmed = [int(number) for number in rest.splitlines() if number]
            snapshot = await store.snapshot()
            a, b = (int(item.value) for item in snapshot.items)
            assert a == b == snapshot.revision - 1
            assert a >= max(confirmed, default=0), "what was called stored is stored"
        seen = await take(watch, snapshot.revision - 1)
        assert [[int(change.value or b"") for change in changes.changes] for changes in seen] == [
            [number, number] for number in range(1, a + 1)
        ]

    on_url(url, run)
    with sqlite3.connect(url.removeprefix("sqlite://")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
