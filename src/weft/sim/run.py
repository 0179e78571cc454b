"""Measures a fleet at several sizes: stores its intent, runs chosen agents one after the other, and lets things happen.

What happens is written as an apply writes it, but without the apply's own reading and checking, which is the writer's
cost and not the agents'. Figures are of one agent's process; of several agents the median is told.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from weft.model.errors import Kind, WeftError
from weft.sim.agent import Figures
from weft.sim.fleet import Size, fleet, port, sighting
from weft.sim.place import CLUSTER, claimed, place
from weft.store import Put, Store, open_store
from weft.store.intent import INDEXED, update
from weft.store.records import Keys, encode
from weft.store.store import Delete, Exactly

_ROUNDS = 10  # events of each kind
_PATIENCE = 600.0  # seconds for an agent to load, at most

Say = Callable[[str], None]


class Event(msgspec.Struct, frozen=True):
    """What one event of a kind costs an agent: CPU in ms, octets told by the store, operations."""

    cpu_ms: float
    octets: float
    operations: float


class Result(msgspec.Struct, frozen=True):
    """One size. Sizes of memory and store in octets; `load_s`: from start to in sync, `load_cpu_s` of it CPU.

    Of one agent: `networks` it takes part in, `held` ports and endpoints, `rows` of its tables, octets `read` to start
    with, `memory` beyond what the process had before. `store`: octets of all keys and values.
    """

    nodes: int
    fleet_networks: int
    ports: int
    store: int
    networks: int
    held: int
    rows: int
    read: int
    memory: int
    load_s: float
    load_cpu_s: float
    events: dict[str, Event]


def measure(size: Size, agents: int, url: str | None, say: Say = lambda text: None) -> Iterator[Result]:
    """At an eighth, a quarter, half and all of the size. `url`: a store where cluster weft-sim is nobody's; it is left
    empty. Raises WeftError."""
    size.check()
    for share in (0.125, 0.25, 0.5, 1.0):
        part = size.part(share)
        with place(url) as where:
            yield asyncio.run(_measure(part, agents, where, say))


async def _measure(size: Size, agents: int, url: str, say: Say) -> Result:
    what = f"{size.nodes} nodes, {size.networks} networks, {size.ports} ports"
    store, keys = open_store(url), Keys(CLUSTER)
    try:
        async with claimed(store, keys):
            say(f"{what}: storing the intent")
            await update(store, keys, lambda _: fleet(size))
            octets = sum(len(item.key) + len(item.value) for item in (await store.snapshot((keys.root,))).items)
            found = []
            for number in range(agents):
                say(f"{what}: agent {number + 1} of {agents}")
                found.append(await _agent(store, keys, url, size, number * size.networks // agents, octets))
            return _median(found)
    finally:
        await store.close()


class _Agent:
    """A measured agent's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.before = 0

    @staticmethod
    async def start(url: str, node: str) -> _Agent:
        words = [sys.executable, "-m", "weft.sim.agent", url, CLUSTER, node]
        pipe = asyncio.subprocess.PIPE
        agent = _Agent(await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe))
        agent.before = int(await agent._line())
        return agent

    async def figures(self, revision: int = 0) -> Figures:
        """Once it has dealt with a revision."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{revision}\n".encode())
        return msgspec.json.decode(await self._line(), type=Figures)

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            line = await self._process.stdout.readline()
        if not line:
            raise WeftError(Kind.FAILED, "a measured agent has ended", remedy="its words are above")
        return line

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def _agent(store: Store, keys: Keys, url: str, size: Size, of: int, octets: int) -> Result:
    """The agent of the first node of a network."""
    begun = time.perf_counter()
    agent = await _Agent.start(url, f"n{size.node_of(of, 0)}")
    try:
        guard = (await store.snapshot((Exactly(keys.guard),))).items
        await agent.figures(guard[0].revision)
        took = time.perf_counter() - begun
        await asyncio.sleep(0.5)  # its first report is written
        loaded = await agent.figures()
        events = {name: await _event(store, agent, makes) for name, makes in _events(keys, size, of).items()}
        return Result(
            nodes=size.nodes,
            fleet_networks=size.networks,
            ports=size.ports,
            store=octets,
            networks=loaded.networks,
            held=loaded.held,
            rows=loaded.planned,
            read=loaded.snapshot,
            memory=loaded.memory - agent.before,
            load_s=round(took, 3),
            load_cpu_s=round(loaded.cpu, 3),
            events=events,
        )
    finally:
        await agent.end()


def _events(keys: Keys, size: Size, of: int) -> dict[str, Callable[[int], list[Put | Delete]]]:
    """What happens, by name: the writes of each, by number."""
    own, far = size.node_of(of, 0), (of + size.networks // 2) % size.networks
    first = size.ports // size.networks + 2  # ranks beyond those that are there

    def created(network: int, node: int, above: int = 0) -> Callable[[int], list[Put | Delete]]:
        def writes(number: int) -> list[Put | Delete]:
            new = port(size, network, first + above + number, node)
            return [Put(keys.guard, INDEXED), Put(keys.of(new), encode(new))]

        return writes

    def seen(number: int) -> list[Put | Delete]:
        new = sighting(size, of, number)
        # The guard is written along so that one can see when it was dealt with.
        return [Put(keys.guard, INDEXED), Put(keys.endpoint(new), encode(new))]

    found = {
        "port elsewhere in its network": created(of, size.node_of(of, 1)),
        "host seen elsewhere in its network": seen,
    }
    if size.networks > 1:
        found["port in a network of others"] = created(far, size.node_of(far, 1))
    found["port of its own"] = created(of, own, above=_ROUNDS)
    return found


async def _event(store: Store, agent: _Agent, writes: Callable[[int], Sequence[Put | Delete]]) -> Event:
    before = await agent.figures()
    for number in range(_ROUNDS):
        outcome = await store.transact([], writes(number), durable=False)
        after = await agent.figures(outcome.revision)
    return Event(
        cpu_ms=round(1000 * (after.cpu - before.cpu) / _ROUNDS, 3),
        octets=(after.watch + after.snapshot - before.watch - before.snapshot) / _ROUNDS,
        operations=(after.operations - before.operations) / _ROUNDS,
    )


def _median(found: list[Result]) -> Result:
    """Of each figure the median."""

    def middle(values: list[float]) -> float:
        return round(statistics.median(values), 3)

    numbers = {
        name: type(value)(middle([getattr(each, name) for each in found]))
        for name, value in msgspec.structs.asdict(found[0]).items()
        if name != "events"
    }
    events = {
        kind: Event(
            **{name: middle([getattr(each.events[kind], name) for each in found]) for name in Event.__struct_fields__}
        )
        for kind in found[0].events
    }
    return Result(**numbers, events=events)
