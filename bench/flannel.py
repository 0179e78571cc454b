"""`weft flannel` beside its etcd: a lease written → its route in the kernel, one by one and many at once. As root:

    python -m bench flannel [WRITES [LEASES]]

One network namespace with an etcd and the daemon. Leases are put by HTTP, routes are seen by the kernel's own
notifications. A time counts from before the put is sent, so etcd's own work and its journal are in it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from weft.netlink import message as m
from weft.netlink import namespace
from weft.netlink import route as r
from weft.netlink.channel import Channel

WRITERS = 8
PREFIX = "/coreos.com/network"
CONFIG = {"Network": "10.0.0.0/8", "SubnetMin": "10.64.0.0", "Backend": {"Type": "vxlan"}}
BAR = 5.0
"""Milliseconds that a lease may take, at the median."""


class Stage:
    """A namespace with etcd on its loopback and `weft flannel` on eth0."""

    def __init__(self) -> None:
        self.name = f"weft-fb-{os.getpid()}"
        self._stack = contextlib.ExitStack()
        self._local = threading.local()

    def up(self) -> None:
        namespace.create(self.name)
        self._stack.callback(namespace.delete, self.name)
        root = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        for command in (
            "link set lo up", "link add eth0 type veth peer eth1", "link set eth1 up", "link set eth0 up",
            "address add 192.168.136.5/24 dev eth0",
        ):  # fmt: skip
            subprocess.run(["ip", "-n", self.name, *command.split()], check=True)
        self._spawn(
            root / "etcd.log", "etcd", "--data-dir", str(root / "data"), "--log-outputs", "stderr", "--unsafe-no-fsync"
        )
        until(self._healthy)
        self.put("config", CONFIG)
        log = root / "flannel.log"
        words = (sys.executable, "-m", "weft", "flannel", "-etcd-endpoints", "http://127.0.0.1:2379")
        self._spawn(log, *words, "-iface", "eth0", "-subnet-file", str(root / "subnet.env"))
        until(lambda: "Running backend" in log.read_text())

    def down(self) -> None:
        self._stack.close()

    def _spawn(self, log: Path, *words: str) -> None:
        with log.open("ab") as out, namespace.entered(self.name):
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self._stack.callback(child.wait, 10)
        self._stack.callback(child.kill)

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError):
            self.put("probe", {})
            return True
        return False

    def put(self, key: str, value: object) -> None:
        """By a connection of the calling thread's own."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", 2379, timeout=10)
            with namespace.entered(self.name):
                connection.connect()
            self._local.connection = connection
        pair = {"key": f"{PREFIX}/{key}", "value": json.dumps(value)}
        body = {name: b64encode(text.encode()).decode() for name, text in pair.items()}
        connection.request("POST", "/v3/kv/put", json.dumps(body))
        connection.getresponse().read()

    def lease(self, number: int) -> None:
        high, low = divmod(number, 256)
        mac = f"02:00:00:01:{high:02x}:{low:02x}"
        data = {"VNI": 1, "VtepMAC": mac}
        value = {"PublicIP": f"172.16.{high}.{low}", "PublicIPv6": None, "BackendType": "vxlan", "BackendData": data}
        self.put(f"subnets/10.{high}.{low}.0-24", value)

    def timed(self, number: int) -> float:
        """When the lease's write was answered."""
        self.lease(number)
        return time.perf_counter()


def until(holds: object) -> None:
    deadline = time.monotonic() + 30
    while not holds():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise SystemExit("the stage did not get ready in 30 s")
        time.sleep(0.05)


class Routes:
    """When the kernel told of each new route."""

    def __init__(self, name: str) -> None:
        self._channel = Channel(namespace=name, groups=(r.RTNLGRP_IPV4_ROUTE,), buffer=8 << 20)
        self._channel.socket.settimeout(30)

    def wait(self, count: int) -> float:
        """Until so many more have come; the time of the last."""
        while count > 0:
            datagram = self._channel.socket.recv(1 << 18)
            count -= sum(kind == r.RTM_NEWROUTE for kind, _, _, _ in m.messages(datagram))
        return time.perf_counter()


def run(writes: str = "300", leases: str = "1000") -> Iterator[str]:
    stage = Stage()
    try:
        stage.up()
        routes = Routes(stage.name)
        taken, after = [], []
        for number in range(256, 256 + int(writes)):
            start = time.perf_counter()
            written = stage.timed(number)
            there = routes.wait(1)
            taken.append(1000 * (there - start))
            after.append(1000 * (there - written))
        middle, worst = statistics.median(taken), sorted(taken)[int(len(taken) * 0.99)]
        met = "met" if middle < BAR else "missed"
        yield "| | |\n|---|---|"
        yield f"| lease written → route, p50 of {writes} | {middle:.2f} ms (bar {BAR:g} ms: {met}) |"
        yield f"| the same, p99 | {worst:.2f} ms |"
        yield f"| etcd has answered the writer → route, p50 | {statistics.median(after):.2f} ms |"
        start = time.perf_counter()
        with ThreadPoolExecutor(WRITERS) as pool:
            answered = pool.map(stage.timed, range(4096, 4096 + int(leases)))
            last = routes.wait(int(leases)) - start
            written = max(answered) - start
        yield f"| {leases} leases by {WRITERS} writers: the last write is answered | after {written:.3f} s |"
        yield f"| the last route is there | after {last:.3f} s |"
        yield f"| ratio | {last / written:.3f} |"
    finally:
        stage.down()
