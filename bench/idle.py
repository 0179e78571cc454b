"""What an agent costs while nothing happens: CPU and memory of `weft agent`, by the size of what it keeps.

    python -m bench idle [SECONDS]            60 seconds at each size unless told, which holds one resync

One host in a namespace of its own, with host ports; its peers' ports are rows of its tables. CPU is the process's user
and system time over the time watched, after it has come to rest; memory its resident set (VmRSS) and its peak (VmHWM).
Drift is the time until a deleted FDB row is back, as the kernel tells of it; median of five.
"""

from __future__ import annotations

import asyncio
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from weft.agent.fight import FREE
from weft.agent.status import wait_in_sync
from weft.model.intent import Intent
from weft.model.network import Network
from weft.model.node import Node
from weft.model.port import Attach, AttachKind, Port
from weft.netlink import namespace
from weft.netlink.bulk import Bulk
from weft.netlink.channel import Channel
from weft.netlink.links import Links
from weft.netlink.neighbor import RTNLGRP_NEIGH, decode
from weft.plan import tables
from weft.store import open_store
from weft.store.intent import update
from weft.store.records import Keys

SIZES = ((1, 10), (100, 1000), (1000, 10000))  # networks, endpoints
_TICK = os.sysconf("SC_CLK_TCK")


def intent(networks: int, endpoints: int) -> Intent:
    """`endpoints` over `networks`: in each one on this node `n0`, the others on `n1`."""
    nodes = {f"n{n}": Node(name=f"n{n}", vtep=f"192.168.33.{11 + n}") for n in range(2)}
    of = {f"net{n}": Network(name=f"net{n}", vni=5000 + n, subnets=("10.1.0.0/16",)) for n in range(networks)}
    ports = {}
    for number in range(endpoints):
        row, place = divmod(number, networks)
        port = Port(
            name=f"p{number}",
            network=f"net{place}",
            node="n1" if row else "n0",
            mac=f"02:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
            ips=(f"10.1.{row >> 8}.{row & 255}",) if row else ("10.1.255.1",),
            attach=Attach(kind=AttachKind.HOST) if not row else Attach(kind=AttachKind.TAP, target=f"t{number}"),
        )
        ports[port.name] = port
    return Intent(nodes, of, {}, ports)


@contextmanager
def agent(networks: int, endpoints: int) -> Iterator[tuple[int, str]]:
    """(pid, namespace) of an agent that is in sync."""
    name = f"weft-bench-{os.getpid()}"
    with tempfile.TemporaryDirectory() as place:
        url = f"sqlite://{place}/weft.db"
        namespace.create(name)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "-n", name, "address", "add", "192.168.33.11/24", "dev", "lo"], check=True)
        asyncio.run(_put(url, intent(networks, endpoints)))
        words = ["ip", "netns", "exec", name, sys.executable, "-m", "weft", "agent", "--node", "n0"]
        words += ["--cluster", name, "--store", url]
        with open(Path(place, "log"), "wb") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            asyncio.run(_wait(url, name))
            yield process.pid, name
        finally:
            process.terminate()
            process.wait()
            namespace.delete(name)


async def _put(url: str, wanted: Intent) -> None:
    store = open_store(url)
    await update(store, Keys(f"weft-bench-{os.getpid()}"), lambda stored: wanted)
    await store.close()


async def _wait(url: str, cluster: str) -> None:
    store = open_store(url)
    await wait_in_sync(store, Keys(cluster), ["n0"], 120)
    await store.close()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _memory(pid: int) -> tuple[float, float]:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024


def _repair(where: str) -> float:
    """Median seconds until a deleted FDB row is back."""
    bulk = Bulk(where)
    link = Links(Channel(namespace=where)).get("wx5000")
    assert link is not None
    row = bulk.dump_fdb()
    row = row[(row["ifindex"] == link.index) & (row["mac"] != 0) & (row["ip_low"] != 0)][:1]
    gone = np.zeros(1, tables.FDB)
    gone["mac"], gone["vtep_high"], gone["vtep_low"] = row["mac"], row["ip_high"], row["ip_low"]
    told = Channel(namespace=where, groups=(RTNLGRP_NEIGH,))
    took = []
    for _ in range(FREE):
        while select.select([told], [], [], 0.3)[0]:  # of the round before
            told.socket.recv(1 << 18)
        begun = time.perf_counter()
        bulk.drop_fdb(link.index, gone)
        while not (decode(told.socket.recv(1 << 18))["mac"] == gone["mac"]).any():  # rows written
            pass
        took.append(time.perf_counter() - begun)
    told.close()
    bulk.close()
    return statistics.median(took)


def run(seconds: str = "60") -> Iterator[str]:
    yield "| networks | endpoints | idle CPU % | resident MiB | peak MiB | FDB row back after s |"
    yield "|---|---|---|---|---|---|"
    for networks, endpoints in SIZES:
        with agent(networks, endpoints) as (pid, where):
            time.sleep(5)
            cpu, begun = _cpu(pid), time.monotonic()
            time.sleep(float(seconds))
            share = 100 * (_cpu(pid) - cpu) / (time.monotonic() - begun)
            now, peak = _memory(pid)
            back = _repair(where)
        yield f"| {networks:,} | {endpoints:,} | {share:.2f} | {now:.0f} | {peak:.0f} | {back:.3f} |"
