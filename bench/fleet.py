"""How soon a new port is known everywhere: from the call that stores it to the row on the last of the hosts.

    python -m bench fleet [HOSTS [PORTS]]     50 hosts and 200 ports unless told, on sqlite and, if it is there, on etcd

Each host is a network namespace with the kernel's own datapath; all agents share one process, so that the time is the
sum of what they do, not what one of them takes. A port (a TAP) is created on one host after the other; it is programmed
when every other host has written its FDB row. In the end the kernel is asked whether all rows are really there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from weft.agent.agent import Agent
from weft.agent.layers import Layers
from weft.agent.status import wait_in_sync
from weft.agent.steady import steady
from weft.l2.datapath import Applied
from weft.l2.open import open_datapath
from weft.l3.routing import KernelRouting
from weft.model.address import mac_to_int
from weft.model.intent import Intent
from weft.model.network import Network
from weft.model.node import DatapathKind, Node
from weft.model.port import Attach, AttachKind, Port
from weft.netlink import namespace
from weft.plan.operations import Operation, PutRows
from weft.plan.tables import Table
from weft.store import Store, open_store
from weft.store.intent import update
from weft.store.mux import MuxStore
from weft.store.records import Keys

NETWORK = Network(name="blue", vni=5000, subnets=("10.0.0.0/16",))
PAUSE = 0.1  # seconds between ports: agents rest, and what they report has been written
PATIENCE = 30.0  # seconds to wait for a row


class Noting(Layers):
    """A host's datapath that notes when each MAC's FDB row was written, by `time.perf_counter`."""

    def __init__(self, cluster: str, where: str) -> None:
        super().__init__(open_datapath(DatapathKind.KERNEL, cluster, where, str), KernelRouting(cluster, where, str))
        self.when: dict[int, float] = {}
        self.wrote = asyncio.Event()

    def apply(self, operations: Sequence[Operation]) -> Applied:
        applied = super().apply(operations)
        now = time.perf_counter()
        for operation in applied.done:
            if isinstance(operation, PutRows) and operation.table is Table.FDB:
                self.when |= dict.fromkeys(operation.rows["mac"].tolist(), now)
        self.wrote.set()
        return applied

    async def written(self, mac: int) -> float:
        """When the row of this MAC was written."""
        while mac not in self.when:
            self.wrote.clear()
            await self.wrote.wait()
        return self.when[mac]


def run(hosts: str = "50", ports: str = "200") -> Iterator[str]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    yield "| store | hosts | ports | p50 ms | p99 ms | longest ms | CPU p50 ms | CPU p99 ms |"
    yield "|---|---|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as place:
        yield _row("sqlite", f"sqlite://{place}/weft.db", int(hosts), int(ports))
        with _etcd(Path(place)) as url:
            yield _row("etcd", url, int(hosts), int(ports))


def _row(name: str, url: str, hosts: int, ports: int) -> str:
    walls, cpus = (
        sorted(1000 * each for each in of) for of in zip(*asyncio.run(_measure(url, hosts, ports)), strict=True)
    )
    figures = [statistics.median(walls), _p99(walls), walls[-1], statistics.median(cpus), _p99(cpus)]
    return f"| {name} | {hosts} | {ports} | {' | '.join(f'{figure:.1f}' for figure in figures)} |"


def _p99(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]


async def _measure(url: str, hosts: int, ports: int) -> list[tuple[float, float]]:
    """(wall, CPU of this process) in seconds until each port was programmed."""
    cluster = f"weft-bench-{os.getpid()}"
    store, keys = MuxStore(open_store(url)), Keys(cluster)
    nodes = {f"h{n}": Node(name=f"h{n}", vtep=f"192.168.33.{1 + n}") for n in range(hosts)}
    first = {f"h{n}": _port(f"h{n}", f"h{n}", n, Attach(kind=AttachKind.HOST)) for n in range(hosts)}
    intent = Intent(nodes, {"blue": NETWORK}, {}, first)
    try:
        await update(store, keys, lambda _: intent)
        async with _agents(store, cluster, nodes) as paths:
            took = []
            for number in range(ports):
                await asyncio.sleep(PAUSE)
                node = f"h{number % hosts}"
                port = _port(f"p{number}", node, hosts + number, Attach(kind=AttachKind.TAP, target=f"t{number}"))
                intent = replace(intent, ports=intent.ports | {port.name: port})
                begun, cpu = time.perf_counter(), time.process_time()
                await update(store, keys, lambda _, intent=intent: intent)  # type: ignore[misc]
                others = [path.written(mac_to_int(port.mac)) for name, path in paths.items() if name != node]
                async with asyncio.timeout(PATIENCE):
                    ended = max(await asyncio.gather(*others))
                took.append((ended - begun, time.process_time() - cpu))
            _verify(paths, intent)
    finally:
        await store.close()
    return took


def _port(name: str, node: str, number: int, attach: Attach) -> Port:
    mac = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
    ip = str(ipaddress.IPv4Address("10.0.1.0") + number)
    return Port(name=name, network="blue", node=node, mac=mac, ips=(ip,), attach=attach)


@asynccontextmanager
async def _agents(store: Store, cluster: str, nodes: dict[str, Node]) -> AsyncIterator[dict[str, Noting]]:
    """The hosts' datapaths, with an agent in sync on each."""
    paths: dict[str, Noting] = {}
    tasks: list[asyncio.Task[None]] = []
    try:
        for name, node in nodes.items():
            where = f"{cluster}-{name}"
            namespace.create(where)
            subprocess.run(["ip", "-n", where, "link", "set", "lo", "up"], check=True)
            subprocess.run(["ip", "-n", where, "address", "add", f"{node.vtep}/24", "dev", "lo"], check=True)
            paths[name] = Noting(cluster, where)
        agents = [Agent(store, name, path, cluster=cluster, settled=steady) for name, path in paths.items()]
        tasks = [asyncio.create_task(agent.run()) for agent in agents]
        await wait_in_sync(store, Keys(cluster), nodes, 120)
        yield paths
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in nodes:
            if name in paths:
                paths[name].close()
            if namespace.exists(f"{cluster}-{name}"):
                namespace.delete(f"{cluster}-{name}")


def _verify(paths: dict[str, Noting], intent: Intent) -> None:
    """Every host's kernel has every other host's MACs."""
    for name, path in paths.items():
        there = set(path.observe().tables[NETWORK.key].fdb["mac"].tolist())
        wanted = {mac_to_int(port.mac) for port in intent.ports.values() if port.node != name}
        assert there == wanted, f"{name}: {len(there)} rows, {len(wanted)} wanted"


@contextmanager
def _etcd(place: Path) -> Iterator[str]:
    """A cluster of one on loopback, with fsync as it is by default."""
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    client, peer = (f"http://127.0.0.1:{port}" for port in ports)
    words = ["etcd", "--data-dir", str(place / "etcd"), "--listen-client-urls", client]
    words += ["--advertise-client-urls", client, "--listen-peer-urls", peer]
    words += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    with (place / "etcd.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        yield f"etcd://127.0.0.1:{ports[0]}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    for line in run(*sys.argv[1:]):
        print(line)
