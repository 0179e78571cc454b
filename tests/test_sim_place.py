"""Where `weft sim` stores its fleet: nobody else's is touched, and nothing stays however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from weft.model.errors import Kind, WeftError
from weft.sim.place import CLUSTER, claimed, place
from weft.store import Put, Store, open_store
from weft.store.records import Keys

KEYS = Keys(CLUSTER)
LEFT = f"{KEYS.root}intent/nodes/n0"
MADE = f"{KEYS.root}sim/made"
OTHER = "/weft/default/intent/nodes/h1"


async def held(store: Store) -> set[str]:
    return {item.key for item in (await store.snapshot()).items}


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_what_a_killed_run_left_is_taken_away_and_nothing_of_others() -> None:
    async def work() -> None:
        store = open_store("memory:")
        await store.transact([], [Put(LEFT, b"{}"), Put(MADE, b"{}"), Put(OTHER, b"{}")])
        async with claimed(store, KEYS):
            assert LEFT not in await held(store)
            await store.transact([], [Put(LEFT, b"{}")])
        assert await held(store) == {OTHER}

    run(work())


def test_a_run_that_is_there_is_left_alone_and_told_with_the_way_out() -> None:
    async def work() -> None:
        store = open_store("memory:")
        async with claimed(store, KEYS):
            await store.transact([], [Put(LEFT, b"{}")])
            with pytest.raises(WeftError) as caught:
                async with claimed(store, KEYS):
                    pytest.fail("two runs in one cluster")
            assert caught.value.kind is Kind.REFUSED
            assert str(caught.value) == (
                "memory:: another run is in cluster weft-sim; let it end; one that was killed lets go within 60 s"
            )
            assert LEFT in await held(store)
        assert await held(store) == set()

    run(work())


def test_an_error_within_empties_the_cluster_too() -> None:
    async def work() -> None:
        store = open_store("memory:")

        async def broken() -> None:
            async with claimed(store, KEYS):
                await store.transact([], [Put(LEFT, b"{}")])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await broken()
        assert await held(store) == set()

    run(work())


def test_a_file_that_was_not_there_goes_again_with_its_directories(tmp_path: Path) -> None:
    with place(f"sqlite://{tmp_path}/new/deep/x.db") as url:
        run(open_store(url).close())
        assert (tmp_path / "new/deep/x.db").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_or_that_others_use_stays(tmp_path: Path) -> None:
    async def store_there(url: str) -> None:
        store = open_store(url)
        await store.transact([], [Put(OTHER, b"{}")])
        await store.close()

    with place(f"sqlite://{tmp_path}/new/x.db") as url:
        run(store_there(url))
    assert (tmp_path / "new/x.db").exists()
    with place(f"sqlite:////{tmp_path}/new/x.db"):
        pass
    assert (tmp_path / "new/x.db").exists()


@pytest.mark.system  # for its processes' time alone
def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "weft", "sim", "--nodes", "64", "--networks", "32", "--ports", "20000"]
    process = subprocess.Popen(words, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("weft-sim-*/weft.db")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []
