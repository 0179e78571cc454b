"""What a remote endpoint costs an agent in memory: a port on another node, or a host that another node has seen.

    python -m bench memory [ENDPOINTS…]       1,000, 10,000 and 100,000 unless told

The real agent on a store in a sqlite file, in a process of its own for each size, in 10 networks over 20 nodes; its own
node has one port in each. Memory is the resident set (VmRSS) once the agent is in sync and has looked at everything a
second time, what the allocators have free given back to the kernel (malloc_trim). The base is the same agent without
remote endpoints; `of those more` are the octets for each that it has more than the row above; the bar is 200. The
datapath keeps no rows beside those of the plan, as a kernel's are none of the process's; with `kernel` it is the kernel
itself, in a namespace, at the larger sizes. Peak (VmHWM) is what starting takes; CPU is that of starting.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from weft.agent.agent import Agent
from weft.agent.status import Status
from weft.l2.datapath import Datapath
from weft.l2.kernel.datapath import KernelDatapath
from weft.model.intent import Intent
from weft.model.node import Node
from weft.model.port import Attach, AttachKind, Port
from weft.netlink import namespace
from weft.sim import fleet
from weft.sim.datapath import CountingDatapath
from weft.store import Put, open_store
from weft.store.intent import update
from weft.store.parts import parts
from weft.store.records import Keys, encode

SIZES = (1_000, 10_000, 100_000)
NODES, NETWORKS = 20, 10
_CLUSTER = "weft-bench"


class Taken(msgspec.Struct, frozen=True):
    """Octets, and seconds of CPU until the agent is in sync."""

    resident: int
    peak: int
    cpu: float


def run(*sizes: str) -> Iterator[str]:
    chosen = tuple(map(int, sizes)) or SIZES
    head = ("remote endpoints", "datapath", "resident MiB", "beyond the base", "octets each", "of those more")
    yield f"| {' | '.join((*head, 'peak MiB', 'start, CPU s'))} |"
    yield "|---|---|---|---|---|---|---|---|"
    for kind in ("ports", "sightings"):
        yield from _rows(kind, "none of its own", chosen)
    if os.geteuid() == 0:
        yield from _rows("ports", "kernel", sorted(chosen)[len(chosen) // 2 :])


def _rows(kind: str, datapath: str, sizes: Sequence[int]) -> Iterator[str]:
    base = _measured(kind, 0, datapath)
    yield f"| none | {datapath} | {_mib(base.resident)} | | | | {_mib(base.peak)} | {base.cpu:.2f} |"
    fewer, before = 0, base.resident
    for size in sizes:
        taken = _measured(kind, size, datapath)
        more = taken.resident - base.resident
        slope = (taken.resident - before) / (size - fewer)
        fewer, before = size, taken.resident
        yield (
            f"| {size:,} {kind} | {datapath} | {_mib(taken.resident)} | {_mib(more)} | {more / size:,.0f} "
            f"| {slope:,.0f} | {_mib(taken.peak)} | {taken.cpu:.2f} |"
        )


def _mib(octets: int) -> str:
    return f"{octets / (1 << 20):.1f}"


def _measured(kind: str, size: int, datapath: str) -> Taken:
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as directory:
        url = f"sqlite://{directory}/weft.db"
        asyncio.run(_store(url, kind, size))
        where = f"weft-bench-{os.getpid()}" if datapath == "kernel" else ""
        if where:
            namespace.create(where)
            subprocess.run(["ip", "-n", where, "address", "add", "172.16.0.1/16", "dev", "lo"], check=True)
            subprocess.run(["ip", "-n", where, "link", "set", "lo", "up"], check=True)
        try:
            words = [sys.executable, "-m", "bench.memory", url, where]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, timeout=600)
        finally:
            if where:
                namespace.delete(where)
    return msgspec.json.decode(done.stdout, type=Taken)


async def _store(url: str, kind: str, size: int) -> None:
    """A port of each node in each network, and the remote endpoints."""
    store, keys = open_store(url), Keys(_CLUSTER)
    each = fleet.Size(NODES, NETWORKS, 1 << 30, NODES)
    ports = [_port(each, of, rank) for of in range(NETWORKS) for rank in range(NODES)]
    if kind == "ports":
        ports += [_port(each, n % NETWORKS, NODES + n // NETWORKS) for n in range(size)]
    nodes = [Node(name=f"n{n}", vtep=f"172.16.0.{1 + n}") for n in range(NODES)]
    networks = [fleet.network(n) for n in range(NETWORKS)]
    intent = Intent(
        {node.name: node for node in nodes},
        {network.name: network for network in networks},
        {},
        {port.name: port for port in ports},
    )
    await update(store, keys, lambda _: intent)
    if kind == "sightings":
        seen = [fleet.sighting(each, n % NETWORKS, n // NETWORKS) for n in range(size)]
        for part in parts([Put(keys.endpoint(endpoint), encode(endpoint)) for endpoint in seen]):
            await store.transact([], part)
    await store.close()


def _port(size: fleet.Size, of: int, rank: int) -> Port:
    """The first ranks stand on a node each, as the host's own; all others on the nodes but the first."""
    if rank < NODES:
        host = Attach(kind=AttachKind.HOST)
        return msgspec.structs.replace(fleet.port(size, of, rank, rank), attach=host)
    return fleet.port(size, of, rank, 1 + rank % (NODES - 1))


# The measured process


async def _agent(url: str, where: str) -> Taken:
    datapath: Datapath = KernelDatapath(_CLUSTER, where) if where else CountingDatapath()
    synced = asyncio.Event()
    status: list[Status] = []

    def told(now: Status) -> None:
        status[:] = [now]
        if now.in_sync:
            synced.set()

    store = open_store(url, create=False)
    agent = Agent(store, "n0", datapath, cluster=_CLUSTER, told=told, resync=3600)
    task = asyncio.create_task(agent.run())
    waiting = asyncio.create_task(synced.wait())
    try:
        await asyncio.wait((waiting, task), timeout=500, return_when=asyncio.FIRST_COMPLETED)
        if not synced.is_set():
            raise RuntimeError(f"the agent is not in sync: {task.exception() if task.done() else status}")
        cpu = time.process_time()
        await asyncio.sleep(1)  # reports are written
        agent._look_again()  # as a resync does
        await asyncio.sleep(2)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return Taken(_octets("VmRSS"), _octets("VmHWM"), round(cpu, 2))
    finally:
        for each in (task, waiting):
            each.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
        await store.close()
        datapath.close()


def _octets(of: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(of)).split()[1]) * 1024


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print(msgspec.json.encode(asyncio.run(_agent(*sys.argv[1:3]))).decode())
