"""Where a store's content lives, as the conformance suite needs it: several handles to it, and time that passes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Protocol, TypeVar

from tests.store.etcd_server import Member, started
from weft.store import Changes, Prefix, Put, Store
from weft.store.etcd import EtcdStore
from weft.store.etcd.address import Address
from weft.store.memory import Memory, MemoryStore
from weft.store.mux import MuxStore
from weft.store.sqlite import SqliteStore

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds after which a test gives up on something that must happen; says nothing about how fast it should."""


class FakeClock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Place(Protocol):
    """One new, empty store. For one without a fake clock, `pass_time` sleeps."""

    def open(self) -> Store: ...

    def pass_time(self, seconds: float) -> None: ...

    def close(self) -> None: ...


class MemoryPlace:
    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.memory = Memory(self.clock)

    def open(self) -> Store:
        return MemoryStore(self.memory)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    def close(self) -> None:
        pass


class SqlitePlace:
    _numbers = itertools.count()

    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.path = root / f"{next(self._numbers)}" / "weft.db"

    def open(self) -> Store:
        return SqliteStore(str(self.path), clock=self.clock, boot="this")

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    def close(self) -> None:
        pass


class MuxPlace(SqlitePlace):
    """Each handle as the agents of one process share it."""

    def open(self) -> Store:
        return MuxStore(super().open())


class HastyStore(EtcdStore):
    """Its leases last half of what is asked, rounded up to seconds; the store and its leases are real."""

    async def grant(self, ttl: float) -> int:
        return await super().grant(ttl / EtcdPlace.HASTE)


class EtcdPlace:
    HASTE = 2

    _numbers = itertools.count()

    def __init__(self, root: Path) -> None:
        root = root / f"{next(self._numbers)}"
        root.mkdir()
        self.member: Member = started(root)

    def open(self) -> Store:
        return HastyStore(Address((self.member.endpoint,)))

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds / self.HASTE)
        deadline = time.monotonic() + PATIENCE
        while self.member.due():  # etcd ends them when it comes to look
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def close(self) -> None:
        self.member.stop()


PLACES: dict[str, Callable[[Path], Place]] = {
    "memory": MemoryPlace,
    "sqlite": SqlitePlace,
    "mux": MuxPlace,
    "etcd": EtcdPlace,
}


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Store]:
    """A handle, closed at the end."""
    store = place.open()
    try:
        yield store
    finally:
        await store.close()


async def take(watch: AsyncIterator[Changes], count: int) -> list[Changes]:
    """The next `count` transactions of a watch."""
    return [await soon(anext(watch)) for _ in range(count)]


async def soon(promise: Awaitable[T]) -> T:
    return await asyncio.wait_for(promise, PATIENCE)


def on_store(test: Callable[[Store, Place], Coroutine[object, object, None]]) -> Callable[[Place], None]:
    """Runs a test on a handle to a new store, and closes it."""

    async def run(place: Place) -> None:
        async with opened(place) as store:
            await test(store, place)

    @wraps(test)
    def wrapper(place: Place) -> None:
        asyncio.run(run(place))

    del wrapper.__wrapped__  # pytest shall see the wrapper's argument
    return wrapper


async def put(store: Store, *keys: str, lease: int = 0) -> int:
    outcome = await store.transact([], [Put(key, key.encode(), lease) for key in keys])
    assert outcome.done
    return outcome.revision


async def keys(store: Store, *prefixes: Prefix) -> list[str]:
    return [item.key for item in (await store.snapshot(prefixes or ("",))).items]
