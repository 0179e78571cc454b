"""One host on the real kernel with its agent in this process, and an outsider's hands on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.fleet import network, port
from tests.l2.l2_world import Underlay
from weft.agent.agent import Agent
from weft.compile.node import compile_node
from weft.l2.kernel.datapath import KernelDatapath
from weft.model.intent import Intent
from weft.model.network import SegmentKey
from weft.model.node import Node
from weft.plan.diff import diff
from weft.plan.node import Observed
from weft.store import Store, open_store
from weft.store.intent import update
from weft.store.records import Keys

KEYS = Keys()
BLUE = SegmentKey(4789, 5000)
PATIENCE = 60.0
"""Seconds after which a test gives up; says nothing about how fast it should be."""


def declared(world: Underlay, remote: int = 1) -> Intent:
    """Port `a` on h1, `remote` ports on h2, in one network."""
    ports = [port("a", "blue", "h1", 10), *(port(f"b{n}", "blue", "h2", 10 + n) for n in range(1, remote + 1))]
    nodes = {name: Node(name=name, vtep=vtep) for name, vtep in zip(("h1", "h2"), world.vteps, strict=True)}
    return Intent(nodes, {"blue": network("blue", 5000)}, {}, {each.name: each for each in ports})


class Counting(KernelDatapath):
    """Counts how often it is looked at."""

    observations = 0

    def observe(self) -> Observed:
        self.observations += 1
        return super().observe()


class Clock:
    """The monotonic clock, and what a test adds to it; `stopped`: the moment at which it stands still."""

    def __init__(self) -> None:
        self.more = 0.0
        self.stopped: float | None = None

    def __call__(self) -> float:
        return self.more + (time.monotonic() if self.stopped is None else self.stopped)

    def stop(self) -> None:
        self.stopped = time.monotonic()

    def go_on(self) -> None:
        """From where it stood."""
        assert self.stopped is not None
        self.more -= time.monotonic() - self.stopped
        self.stopped = None


class Host:
    """`agent` works on h1 of the underlay."""

    def __init__(self, world: Underlay, store: Store) -> None:
        self.world, self.store = world, store
        self.clock = Clock()
        self.datapath = Counting("default", world.hosts[0], lambda name: f"{world.prefix}{name}")
        world.paths.append(self.datapath)
        self.agent = Agent(store, "h1", self.datapath, now=self.clock)

    def left(self) -> list[str]:
        """The operations that would be needed now; looks with eyes of its own."""
        fresh = self.world.datapath(0)
        return [str(operation) for operation in diff(compile_node(self.agent.feed.world, "h1"), fresh.observe())]

    async def until(self, what: Callable[[], Any], why: str = "") -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, f"{why or 'it never came'}: {self.agent.status} {self.left()}"
            await asyncio.sleep(0.02)

    async def quiet(self) -> int:
        """Waits until nobody has looked for a second; how often it was looked at so far."""
        seen = -1
        while seen != self.datapath.observations:
            seen = self.datapath.observations
            await asyncio.sleep(1.0)
        return seen


@asynccontextmanager
async def running(world: Underlay, of: Intent) -> AsyncIterator[Host]:
    """The host in sync with this intent, its agent running; ended afterwards."""
    world.namespace("a")
    store = open_store("memory:")
    await update(store, KEYS, lambda stored: of)
    host = Host(world, store)
    work = asyncio.create_task(host.agent.run())
    try:
        await host.until(lambda: host.agent.status.in_sync or work.done())
        yield host
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
