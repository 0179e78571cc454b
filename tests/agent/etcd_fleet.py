"""The fleet of life_process with etcd for its store, on a machine of its own behind a link to each host.

host 1 ── 10.99.1.0/24 ── store (10.99.0.1, etcd) ── 10.99.2.0/24 ── host 2
  └───────────────────── the underlay, eth1 ────────────────────────┘
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.agent.life_process import PATIENCE, Fleet
from tests.l2.l2_world import Underlay, ip
from tests.store.etcd_server import Member
from weft.netlink import namespace

T = TypeVar("T")
MONITORS = ("bridge", "monitor", "fdb"), ("ip", "monitor", "neigh", "link", "address")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class EtcdFleet(Fleet):
    """`erased()`: a line for each row, device or address of ours that has gone away on a host."""

    member: Member = field(default_factory=lambda: Member(Path("/nonexistent")))
    monitors: list[subprocess.Popen[bytes]] = field(default_factory=list)
    marks: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        return self.member.url

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        with namespace.entered(self.member.namespace):  # this thread alone, for the whole of a loop of its own
            return asyncio.run(work)

    def monitor(self) -> None:
        """From now on it is written down what disappears from the hosts' tables."""
        for host in self.world.hosts:
            for command in MONITORS:
                with self._written(host, command).open("ab") as output:
                    words = ["ip", "netns", "exec", host, *command]
                    self.monitors.append(subprocess.Popen(words, stdout=output, stderr=output))
        self.erased()

    def _written(self, host: str, command: tuple[str, ...]) -> Path:
        return self.path / f"{host}.{command[0]}"

    def erased(self) -> list[str]:
        """All that was told up to now: what is done last, a row on the underlay's device, has been seen as well."""
        deadline = time.monotonic() + PATIENCE
        lines: list[str] = []
        for host in self.world.hosts:
            told = [self._written(host, command) for command in MONITORS]
            while True:
                mark = f"02:00:00:00:ee:{next(self.marks):02x}"
                ip(host, *f"bridge fdb add {mark} dev eth1 self permanent".split())
                time.sleep(0.1)
                if all(mark in path.read_text() for path in told):
                    break
                assert time.monotonic() < deadline, "the monitors do not tell"
            lines += [line for path in told for line in path.read_text().splitlines()]
        return [line for line in lines if line.startswith("Deleted") and "5000" in line]

    def cpu(self) -> list[float]:
        """Seconds of CPU that each agent has taken so far, user and system."""
        stats = [
            Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split() for agent in self.agents.values()
        ]
        return [(int(stat[11]) + int(stat[12])) / _TICK for stat in stats]

    def waited(self) -> float:
        """Seconds for which agents, etcd and we ourselves have waited for a CPU so far, together."""
        tasks = [Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}")]
        for process in (*self.agents.values(), self.member.process):
            assert process is not None
            tasks += Path(f"/proc/{process.pid}/task").iterdir()
        waits = 0
        for task in tasks:
            with suppress(OSError):  # a thread that has ended
                waits += int((task / "schedstat").read_text().split()[1])
        return waits / 1e9

    def warnings(self, host: int) -> list[str]:
        """The reasons why the store could not be used, as logged."""
        return [str(line["error"]) for line in self.logged(host) if line["event"] == "store"]

    def drop(self, wanted: bool) -> None:
        """Whether all packets to and from etcd disappear without a word."""
        words = "add table inet cut; add chain inet cut in { type filter hook input priority 0; iifname != lo drop; }"
        self.inside("nft", words if wanted else "delete table inet cut")

    def inside(self, *words: str) -> None:
        subprocess.run([*self.member.where, *words], check=True, capture_output=True, timeout=PATIENCE)

    def restore(self, backup: Path) -> None:
        """Puts a snapshot in the place of etcd's data; it does not run."""
        shutil.rmtree(self.member.data)
        words = ["etcdctl", "snapshot", "restore", str(backup), "--name", self.member.name, "--data-dir",
                 str(self.member.data), "--initial-cluster", self.member.peer, "--initial-advertise-peer-urls",
                 f"http://127.0.0.1:{self.member.peer_port}"]  # fmt: skip
        environment = {"PATH": os.environ["PATH"], "ETCDCTL_API": "3"}
        subprocess.run(words, check=True, capture_output=True, env=environment, timeout=PATIENCE)

    def stop(self) -> None:
        for monitor in self.monitors:
            monitor.kill()
            monitor.wait(PATIENCE)
        super().stop()
        self.member.stop()

    def since(self, moment: float, what: Any) -> float:
        """Waits for `what` to be true; the seconds from `moment` to then."""
        while not what():
            assert time.monotonic() - moment < PATIENCE, "\n".join(self.log(host).read_text() for host in (0, 1))
            time.sleep(0.05)
        return time.monotonic() - moment


def linked(world: Underlay) -> str:
    """Makes the store's machine, and the links; its namespace."""
    store = world.namespace("s")
    commands = [f"-n {store} link set lo up", f"-n {store} address add 10.99.0.1/32 dev lo"]
    for number, host in enumerate(world.hosts, 1):
        commands += [
            f"-n {host} link add store type veth peer name h{number} netns {store}",
            f"-n {host} address add 10.99.{number}.2/24 dev store",
            f"-n {host} link set store up",
            f"-n {store} address add 10.99.{number}.1/24 dev h{number}",
            f"-n {store} link set h{number} up",
            f"-n {host} route add 10.99.0.1 via 10.99.{number}.1",
        ]
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)
    return store


@contextmanager
def etcd_fleet(world: Underlay, path: Path) -> Iterator[EtcdFleet]:
    """Both agents running and in sync."""
    fleet = EtcdFleet(world, path, member=Member(path, host="10.99.0.1", namespace=linked(world)))
    try:
        fleet.member.start()
        fleet.member.wait_ready()
        fleet.prepare()
        fleet.up()
        fleet.monitor()
        yield fleet
    finally:
        fleet.stop()
