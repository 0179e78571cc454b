"""What the etcd store does while etcd is killed, frozen, cut off, compacted, restored: nothing lost or doubled."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import pytest

from tests.store.etcd_server import Member, free_port, started
from tests.store.store_places import PATIENCE, soon, take
from tests.store.test_conformance import put
from weft.model.errors import Kind, WeftError
from weft.store import Changes, Compacted, LeaseLost, Put
from weft.store.etcd import EtcdStore
from weft.store.etcd.address import Address

pytestmark = pytest.mark.system


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Member]:
    member = started(tmp_path)
    yield member
    member.stop()


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[Member]]:
    """A cluster of three."""
    members = [Member(tmp_path, f"m{number}") for number in range(3)]
    for member in members:
        member.cluster = ",".join(each.peer for each in members)
        member.start()
    for member in members:
        member.wait_ready()
    yield members
    for member in members:
        member.stop()


def run(test: Coroutine[object, object, None]) -> None:
    asyncio.run(test)


def opened(*members: Member, patience: float = PATIENCE) -> EtcdStore:
    """Patient: elections on a busy machine take their time."""
    return EtcdStore(Address(tuple(member.endpoint for member in members)), patience=patience, silence=1.0)


def by_endpoint(members: list[Member], endpoint: str) -> Member:
    return next(member for member in members if member.endpoint == endpoint)


async def numbers(watch: AsyncIterator[Changes], count: int) -> list[str]:
    """The next keys of a watch whose transactions write one each; the watch may say that etcd is away meanwhile."""
    seen: list[str] = []
    while len(seen) < count:
        try:
            changes = await soon(anext(watch))
        except WeftError as error:
            if error.kind is not Kind.UNREACHABLE:
                raise
            continue
        seen += [change.key for change in changes.changes]
    return seen


async def keep_writing(store: EtcdStore, first: int, last: int) -> None:
    for number in range(first, last):
        await put(store, f"k/{number:04}")


@pytest.mark.parametrize("fault", [Member.kill, Member.freeze])
def test_a_watch_leaves_a_dead_or_frozen_member_without_loss(
    members: list[Member], fault: Callable[[Member], None]
) -> None:
    async def test() -> None:
        store, writer = opened(*members), opened(*members)
        watch = store.watch(["k/", "other/"], 2)
        await keep_writing(writer, 0, 20)
        assert len(await numbers(watch, 20)) == 20
        victim = by_endpoint(members, store.endpoint)
        fault(victim)
        writing = asyncio.create_task(keep_writing(writer, 20, 60))
        assert await numbers(watch, 40) == [f"k/{number:04}" for number in range(20, 60)]
        await writing
        assert store.endpoint != victim.endpoint
        assert len((await store.snapshot(["k/"])).items) == 60
        await store.close()
        await writer.close()

    run(test())


def test_a_member_without_a_majority_is_left(members: list[Member]) -> None:
    """It answers still, but has no leader: both others are frozen, then come back."""

    async def test() -> None:
        store, patient = opened(*members, patience=1.0), opened(*members)
        watch = store.watch(["k/"], 2)
        revision = await put(patient, "k/1")
        await take(watch, 1)
        others = [member for member in members if member.endpoint != store.endpoint]
        for other in others:
            other.freeze()
        with pytest.raises(WeftError) as caught:
            await soon(anext(watch))
        assert caught.value.kind is Kind.UNREACHABLE
        for other in others:
            other.thaw()
        # A put without comparison whose answer was lost is written again.
        assert await put(patient, "k/2") >= revision + 1
        assert await numbers(watch, 1) == ["k/2"]
        await store.close()
        await patient.close()

    run(test())


def test_a_restarted_etcd_goes_on_where_it_was(member: Member) -> None:
    async def test() -> None:
        store = opened(member)
        watch = store.watch(["k/"], 2)
        await keep_writing(store, 0, 3)
        assert len(await numbers(watch, 3)) == 3
        member.stop()
        hasty = opened(member, patience=0.3)
        with pytest.raises(WeftError) as caught:
            await hasty.snapshot()
        await hasty.close()
        assert caught.value.kind is Kind.UNREACHABLE
        member.start()
        await keep_writing(store, 3, 6)
        assert await numbers(watch, 3) == ["k/0003", "k/0004", "k/0005"]
        await store.close()

    run(test())


def test_frozen_etcd_is_noticed_and_recovered_from(member: Member) -> None:
    async def test() -> None:
        store, patient = opened(member, patience=1.0), opened(member)
        watch = store.watch(["k/"], 2)
        await put(patient, "k/1")
        await take(watch, 1)
        member.freeze()
        for attempt in (anext(watch), store.snapshot()):
            with pytest.raises(WeftError) as caught:
                await soon(attempt)
            assert caught.value.kind is Kind.UNREACHABLE
            assert member.endpoint in str(caught.value)
        member.thaw()
        await put(patient, "k/2")
        assert await numbers(watch, 1) == ["k/2"]
        await store.close()
        await patient.close()

    run(test())


def test_compaction_passes_a_watch_that_is_awake_and_stops_one_that_slept(member: Member) -> None:
    async def test() -> None:
        store = opened(member)
        awake, slept = store.watch(["k/"], 2), store.watch(["k/"], 2)
        await keep_writing(store, 0, 5)
        assert len(await numbers(awake, 5)) == 5
        await store.compact(7)
        assert await put(store, "k/9999") == 7
        assert await numbers(awake, 1) == ["k/9999"]
        for _ in range(2):
            with pytest.raises(Compacted) as caught:
                await soon(anext(slept))
            assert caught.value.oldest == 7
        await store.close()

    run(test())


def test_a_quiet_watch_is_not_overtaken_by_compaction(members: list[Member]) -> None:
    """Others write, history is forgotten, its member dies: it goes on from what it knows, not from where it began."""

    async def test() -> None:
        store, writer = opened(*members), opened(*members)
        watch = store.watch(["quiet/"], 2)
        waiting = asyncio.create_task(soon(numbers(watch, 1)))
        await keep_writing(writer, 0, 10)
        while watch._next < 12:  # two progress answers, a few seconds apart
            await asyncio.sleep(0.05)
        await writer.compact(12)
        by_endpoint(members, store.endpoint).stop()
        await put(writer, "quiet/1")
        assert await waiting == ["quiet/1"]
        await store.close()
        await writer.close()

    run(test())


@pytest.mark.parametrize("prefixes", [["k/"], ["k/", "other/"]])
def test_a_restored_snapshot_makes_watches_start_over(tmp_path: Path, prefixes: list[str]) -> None:
    async def test() -> None:
        store = opened(member)
        watch = store.watch(prefixes, 2)
        await keep_writing(store, 0, 3)
        member.etcdctl("snapshot", "save", str(tmp_path / "backup"))
        await keep_writing(store, 3, 9)
        assert len(await numbers(watch, 9)) == 9
        member.stop()
        shutil.rmtree(member.data)
        restore = ["etcdctl", "snapshot", "restore", str(tmp_path / "backup"), "--name", member.name, "--data-dir",
                   str(member.data), "--initial-cluster", member.peer, "--initial-advertise-peer-urls",
                   f"http://127.0.0.1:{member.peer_port}"]  # fmt: skip
        subprocess.run(
            restore, check=True, capture_output=True, env={"PATH": "/usr/bin", "ETCDCTL_API": "3"}, timeout=60
        )
        member.start()
        with pytest.raises(Compacted):
            await numbers_or_compacted(watch)
        snapshot = await store.snapshot(["k/"])
        assert len(snapshot.items) == 3
        anew = store.watch(prefixes, snapshot.revision + 1)
        await put(store, "k/new")
        assert await numbers(anew, 1) == ["k/new"]
        await store.close()

    member = started(tmp_path)
    try:
        run(test())
    finally:
        member.stop()


async def numbers_or_compacted(watch: AsyncIterator[Changes]) -> None:
    while True:
        try:
            await soon(anext(watch))
        except WeftError as error:
            if error.kind is not Kind.UNREACHABLE:
                raise


def test_a_lease_ends_with_its_holder(member: Member) -> None:
    async def test() -> None:
        store = opened(member)
        lease = await store.grant(3)
        revision = await put(store, "alive/n", lease=lease)
        (changes,) = await take(store.watch(["alive/"], revision + 1), 1)
        assert changes.changes[0].value is None
        for attempt in (store.keep_alive(lease), store.transact([], [Put("alive/n", b"", lease)])):
            with pytest.raises(LeaseLost) as caught:
                await attempt
            assert caught.value.lease == lease
        both = await store.grant(60)
        with pytest.raises(LeaseLost) as caught:
            await store.transact([], [Put("a", b"", both), Put("b", b"", lease)])
        assert caught.value.lease == lease
        await store.revoke(lease)
        await store.close()

    run(test())


def test_watches_that_nobody_wants_leave_nothing_behind(member: Member) -> None:
    async def test() -> None:
        store = opened(member)
        revision = await put(store, "k/1")
        before = len(asyncio.all_tasks())
        for _ in range(5):
            watch = store.watch(["k/"], revision)
            await take(watch, 1)
            del watch
        async with asyncio.timeout(PATIENCE):
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0.01)
        await store.close()

    run(test())


def test_nobody_there(tmp_path: Path) -> None:
    """All addresses with their reasons, and soon."""

    async def test() -> None:
        ports = free_port(), free_port()
        store = EtcdStore(Address(tuple(f"127.0.0.1:{port}" for port in ports)), patience=0.5)
        calls: list[Callable[[], Coroutine[object, object, object]]] = [
            store.snapshot, lambda: store.transact([], [Put("a", b"")]), lambda: store.grant(5),
            lambda: anext(store.watch([""], 1)),  # type: ignore[arg-type,return-value,list-item]
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(WeftError) as caught:
                await soon(call())
            assert caught.value.kind is Kind.UNREACHABLE
            assert all(f"127.0.0.1:{port}: Connection refused" in str(caught.value) for port in ports)
        await store.close()

    run(test())
