"""One agent of the measured fleet, in a process of its own: `python -m weft.sim.agent URL CLUSTER NODE`.

It is the real agent on a datapath that counts. Every line on standard input names a store revision and is answered by
one on standard output with its figures (`Figures`, JSON) once it has dealt with that; the end of input ends it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import msgspec
import structlog

from weft.agent.agent import Agent
from weft.agent.touch import count
from weft.sim.datapath import CountingDatapath
from weft.store import open_store


class Figures(msgspec.Struct, frozen=True):
    """`dealt`: the store revision up to which all is on the datapath. `cpu` in seconds, `memory` (RSS) and what the
    store has told in octets; `held`: ports and endpoints in memory."""

    dealt: int
    cpu: float
    memory: int
    snapshot: int
    watch: int
    operations: int
    rows: int
    held: int
    planned: int
    networks: int


def memory() -> int:
    """Resident octets of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


class Measured:
    """The agent and what is told of it."""

    def __init__(self, url: str, cluster: str, node: str) -> None:
        self.datapath = CountingDatapath()
        self.store = open_store(url, create=False)
        self.agent = Agent(self.store, node, self.datapath, cluster=cluster, told=lambda status: self._rested())
        self.dealt = 0
        self._rests = asyncio.Event()

    def _rested(self) -> None:
        self.dealt = self.agent.feed.revision
        self._rests.set()

    async def until(self, revision: int) -> None:
        """Until the agent has dealt with a revision."""
        while self.dealt < revision:
            self._rests.clear()
            await self._rests.wait()

    def figures(self) -> Figures:
        world, told = self.agent.feed.world, self.agent.follower.octets
        return Figures(
            dealt=self.dealt,
            cpu=time.process_time(),
            memory=memory(),
            snapshot=told["snapshot"],
            watch=told["watch"],
            operations=self.datapath.operations,
            rows=self.datapath.rows,
            held=len(world.declarations) + len(world.sightings),
            planned=count(self.agent.plan),
            networks=len(self.agent.follower.networks or world.networks),
        )


async def _serve(url: str, cluster: str, node: str) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    measured = Measured(url, cluster, node)
    before = memory()
    print(before, flush=True)
    task = asyncio.create_task(measured.agent.run())
    while line := await lines.readline():
        waiting = asyncio.create_task(measured.until(int(line)))
        await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        print(msgspec.json.encode(measured.figures()).decode(), flush=True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await measured.store.close()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    asyncio.run(_serve(*sys.argv[1:4]))
