"""What sqlite alone can do or suffer: its file, its clock, its faults."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.store.store_places import FakeClock, soon, take
from weft.model.errors import Kind, WeftError
from weft.store import Compacted, LeaseLost, Put
from weft.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weft.db"


def on_file(path: Path, test: Callable[[SqliteStore], Awaitable[None]], **options: object) -> None:
    async def run() -> None:
        store = SqliteStore(str(path), **options)  # type: ignore[arg-type]
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(run())


def refusal(path: Path) -> WeftError:
    """Why the file cannot be opened; the message names it and a remedy, and the file stays as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(WeftError) as caught:
        SqliteStore(str(path))
    assert caught.value.where == str(path)
    assert caught.value.remedy
    assert before is None or path.read_bytes() == before
    return caught.value


async def fill(store: SqliteStore, count: int = 200) -> None:
    await store.transact([], [Put(f"k{number:04}", b"x" * 1000) for number in range(count)])


# -- the file -----------------------------------------------------------------------------------------------------


def test_the_file_and_its_directories_are_private(tmp_path: Path) -> None:
    path = tmp_path / "with space" / "100%?#" / "weft.db"

    async def run(store: SqliteStore) -> None:
        await fill(store)
        modes = {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()}
        assert modes == {"weft.db": 0o600, "weft.db-wal": 0o600, "weft.db-shm": 0o600}

    on_file(path, run)
    assert [directory.stat().st_mode & 0o777 for directory in (path.parent, path.parent.parent)] == [0o700, 0o700]


def test_everything_is_there_after_opening_again(path: Path) -> None:
    on_file(path, fill)

    async def run(store: SqliteStore) -> None:
        snapshot = await store.snapshot()
        assert (snapshot.revision, len(snapshot.items)) == (2, 200)
        assert [changes.revision for changes in await take(store.watch([""], 1), 1)] == [2]

    on_file(path, run)


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    async def run(store: SqliteStore) -> None:
        await fill(store)
        assert len((await store.snapshot()).items) == 200

    path.touch()
    on_file(path, run)


def test_other_files_are_refused_and_left_alone(path: Path) -> None:
    path.write_text("Dear diary, " * 1000)
    error = refusal(path)
    assert error.kind is Kind.FAILED
    assert "not a store of weft" in str(error)
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE bookmark (url TEXT)")
    database.close()
    assert "another program" in str(refusal(path))
    path.unlink()
    path.mkdir()
    assert refusal(path).kind is Kind.UNREACHABLE


def test_a_newer_format_is_refused(path: Path) -> None:
    on_file(path, fill)
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.execute("PRAGMA journal_mode = DELETE")
    database.close()
    error = refusal(path)
    assert error.kind is Kind.FAILED
    assert "format 99" in str(error)


def test_a_damaged_file_is_refused(path: Path) -> None:
    on_file(path, fill)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    with pytest.raises(WeftError) as caught:
        SqliteStore(str(path))
    assert caught.value.kind is Kind.FAILED
    assert "damaged" in caught.value.what


def test_damage_found_later_is_reported(path: Path) -> None:
    on_file(path, fill)
    whole = path.read_bytes()
    path.write_bytes(whole[: 12 * 4096] + os.urandom(len(whole) - 12 * 4096))

    async def run(store: SqliteStore) -> None:
        for call in (store.snapshot, lambda: fill(store)):
            with pytest.raises(WeftError) as caught:
                await call()
            assert caught.value.kind is Kind.FAILED
            assert caught.value.where == str(path)
            assert "damaged" in caught.value.what

    on_file(path, run)


def test_a_path_below_a_file_is_refused(path: Path) -> None:
    path.touch()
    error = refusal(path / "weft.db")
    assert error.kind is Kind.UNREACHABLE
    assert "Not a directory" in str(error)


def test_no_permission_is_reported() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)  # permissions do not bind root
        try:
            error = refusal(Path(directory) / "weft.db")
            missing = refusal(Path(directory) / "sub" / "weft.db")
        finally:
            if root:
                os.seteuid(0)
    assert error.kind is missing.kind is Kind.UNREACHABLE
    assert "Permission denied" in str(error)
    assert "Permission denied" in str(missing)


def test_a_full_disk_writes_nothing(path: Path) -> None:
    async def run(store: SqliteStore) -> None:
        await fill(store, 10)
        before = await store.snapshot()
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(WeftError) as caught:
            await fill(store, 1000)
        assert caught.value.kind is Kind.FAILED
        assert "no space left" in str(caught.value)
        assert await store.snapshot() == before
        store._database.execute("PRAGMA max_page_count = 100000")
        await fill(store, 1000)
        assert (await store.snapshot()).revision == before.revision + 1

    on_file(path, run)


def test_a_lock_that_stays_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.store.schema.BUSY_TIMEOUT", 0.05)

    async def run(store: SqliteStore) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(WeftError) as caught:
            await fill(store)
        assert caught.value.kind is Kind.UNREACHABLE
        assert "locked" in str(caught.value)
        assert (await store.snapshot()).revision == 1, "readers do not wait"
        other.execute("ROLLBACK")
        other.close()
        await fill(store)

    on_file(path, run)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_goes_away_is_reported(path: Path, how: str) -> None:
    async def run(store: SqliteStore) -> None:
        await fill(store)
        waiting = asyncio.create_task(take(store.watch([""], 3), 1))
        await asyncio.sleep(0.01)
        away = path.with_name("away")
        path.rename(away)
        if how == "replaced":
            path.touch()
        for call in (waiting, store.snapshot(), store.grant(1), fill(store)):
            with pytest.raises(WeftError) as caught:
                await soon(call)
            assert caught.value.kind is Kind.UNREACHABLE
            assert how in str(caught.value)
            assert str(path) in str(caught.value)
        away.rename(path)
        assert (await store.snapshot()).revision == 2, "put back, it goes on"

    on_file(path, run)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_log_that_goes_away_is_reported(path: Path, suffix: str) -> None:
    async def run(store: SqliteStore) -> None:
        Path(f"{path}{suffix}").unlink()
        with pytest.raises(WeftError) as caught:
            await fill(store)
        assert caught.value.kind is Kind.UNREACHABLE
        assert caught.value.where == f"{path}{suffix}"

    on_file(path, run)


def test_a_sleeping_watch_holds_no_snapshot(path: Path) -> None:
    async def run(store: SqliteStore) -> None:
        watch = store.watch([""], 2)
        for _ in range(3):
            await fill(store, 1500)  # more than one batch
        await take(watch, 3)
        waiting = asyncio.create_task(take(watch, 1))
        await asyncio.sleep(0.01)
        other = sqlite3.connect(path)
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0, "nobody stands in the way"
        other.close()
        waiting.cancel()

    on_file(path, run)


def test_only_the_clockwork_of_leases_goes_without_fsync(path: Path) -> None:
    async def run(store: SqliteStore) -> None:
        full, normal = 2, 1

        async def level(call: Awaitable[object]) -> int:
            await call
            return int(store._database.execute("PRAGMA synchronous").fetchone()[0])

        for _ in range(2):
            assert await level(store.grant(10)) == normal
            assert await level(fill(store)) == full
            assert await level(store.keep_alive(1)) == normal
            assert await level(store.revoke(2)) == full

    on_file(path, run)


# -- history ------------------------------------------------------------------------------------------------------


def test_history_is_trimmed_unasked(path: Path) -> None:
    async def run(store: SqliteStore) -> None:
        for _ in range(50):
            await fill(store, 3)
        with pytest.raises(Compacted) as caught:
            await anext(store.watch([""], 2))
        kept = 51 - caught.value.oldest + 1
        assert 10 <= 3 * kept <= 2 * 10 + 3
        assert len(await take(store.watch([""], caught.value.oldest), kept)) == kept
        await fill(store, 100)
        assert len((await take(store.watch([""], 52), 1))[0].changes) == 100, "the last transaction stays whole"

    on_file(path, run, history=10)


# -- the clock of leases ------------------------------------------------------------------------------------------


def test_a_reboot_ends_every_lease(path: Path) -> None:
    clock = FakeClock()

    async def before(store: SqliteStore) -> None:
        lease = await store.grant(1e6)
        await store.transact([], [Put("a", b"", lease), Put("b", b"")])

    async def after(store: SqliteStore) -> None:
        assert [item.key for item in (await store.snapshot()).items] == ["b"]
        with pytest.raises(LeaseLost):
            await store.keep_alive(1)
        assert await store.grant(10) == 2

    on_file(path, before, clock=clock, boot="one")
    clock.now = 5.0
    on_file(path, after, clock=clock, boot="two")


@pytest.mark.parametrize("step", [-86_400, 86_400])
def test_a_step_of_the_wall_clock_changes_nothing(path: Path, step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(store: SqliteStore) -> None:
        lease = await store.grant(60)
        await store.transact([], [Put("a", b"", lease)])
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + step)
        await store.keep_alive(lease)
        assert len((await store.snapshot()).items) == 1
        short = await store.grant(0.02)
        await asyncio.sleep(0.03)
        with pytest.raises(LeaseLost):
            await store.keep_alive(short)

    on_file(path, run)


def test_a_watch_sees_expiry_though_nobody_else_acts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.store.inotify.SAFETY_POLL", 1e6)

    async def run(store: SqliteStore) -> None:
        waiting = asyncio.create_task(take(store.watch([""], 3), 1))
        await asyncio.sleep(0.01)
        lease = await store.grant(1.0)  # granted after the watch has gone to sleep
        await store.transact([], [Put("a", b"", lease)])
        (changes,) = await soon(waiting)
        assert changes.changes[0].value is None

    on_file(path, run)


def test_expiry_by_several_handles_is_one_change(path: Path) -> None:
    clock = FakeClock()

    async def run(store: SqliteStore) -> None:
        others = [SqliteStore(str(path), clock=clock, boot="one") for _ in range(3)]
        lease = await store.grant(10)
        await store.transact([], [Put("a", b"", lease)])
        clock.now += 11
        assert {(await other.snapshot()).revision for other in others} == {3}
        for other in others:
            await other.close()

    on_file(path, run, clock=clock, boot="one")
