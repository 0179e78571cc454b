"""Two networks through one forwarding process, and through two. As root:

    python -m bench user_workers [ROUNDS [SECONDS [SHARE]]]

    a1, a2 ── [user VTEP: 1 process or 2] ── h1 eth1 ═══ eth1 h2 ── [kernel VTEP] ── b1, b2

Both forwarders stand all the time, each with two networks and a UDP port of its own, and work in turn. Both networks
carry a TCP stream at once, out (a → b) or in (b → a), or small packets out of UDP of 64 octets as fast as they go.
With SHARE, each forwarding process runs for so many percent of the time only, stopped and continued every 10 ms: then
cores are not what is short, as on a host that has more of them.
CPU seconds are those of the forwarder's processes, user and system; figures are medians, ratios medians of the rounds'
ratios (lowest, highest).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.user_vtep import MTU, VTEPS, Stage, patiently
from weft.l2.datapath import Datapath
from weft.l2.kernel.datapath import KernelDatapath
from weft.l2.user.datapath import UserDatapath
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach, AttachKind
from weft.plan import tables
from weft.plan.operations import PutPort, PutRows, PutSegment
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Table

ROUNDS, SECONDS = 7, 3
_PERIOD = 0.01  # seconds
_TICKS = os.sysconf("SC_CLK_TCK")
_LOADS = {"TCP out": (), "TCP in": ("-R",), "small packets out": ("-u", "-b", "0", "-l", "64")}


@dataclass
class Forwarder:
    """`ends`: near and far namespace, and the far one's address, of each network."""

    workers: int
    path: UserDatapath
    ends: list[tuple[str, str, str]]
    rate: dict[str, list[float]] = field(default_factory=lambda: {load: [] for load in _LOADS})
    cpu: dict[str, list[float]] = field(default_factory=lambda: {load: [] for load in _LOADS})

    def spent(self) -> float:
        pids = {self.path.pid, *self.path.workers()[0]} - {0, None}
        return sum(_spent(int(pid or 0)) for pid in pids)

    @contextlib.contextmanager
    def held(self, share: int) -> Iterator[None]:
        """Each process that forwards has so many percent of the time."""
        done, pids = threading.Event(), self.path.workers()[0]

        def hold(pid: int) -> None:
            while not done.wait(_PERIOD * share / 100):
                os.kill(pid, signal.SIGSTOP)
                done.wait(_PERIOD * (100 - share) / 100)
                os.kill(pid, signal.SIGCONT)

        holding = [threading.Thread(target=hold, args=(pid,)) for pid in pids if share < 100]
        for each in holding:
            each.start()
        try:
            yield
        finally:
            done.set()
            for each in holding:
                each.join()


class Networks(Stage):
    """Two hosts; on the first two forwarders, on the second the kernel's VTEP."""

    def stand(self) -> list[Forwarder]:
        for host in self.hosts:
            self._namespace(host)
        self._join(self.hosts)
        far = KernelDatapath(namespace=self.hosts[1])
        self._stack.callback(far.close)
        return [self._forwarder(workers, far) for workers in (1, 2)]

    def _forwarder(self, workers: int, far: KernelDatapath) -> Forwarder:
        near = UserDatapath(f"bench{workers}", self.hosts[0], workers=workers)
        self._stack.callback(near.close)
        self._stack.callback(near.stop)
        ends = []
        for number in (2 * workers, 2 * workers + 1):
            pair, key = self._ends(number), SegmentKey(4789 + workers, 5000 + number)
            for index, path in enumerate((near, far)):
                self._network(path, index, number, pair[index], key)
            ends.append((*pair, f"10.{number}.1.2"))
        return Forwarder(workers, near, ends)

    def _network(self, path: Datapath, index: int, number: int, end: str, key: SegmentKey) -> None:
        segment = Segment(key, f"bench{number}", VTEPS[index], MTU, True, 300, Arp.FLOOD)
        attach, mac = Attach(kind=AttachKind.NAMESPACE, target=end), f"02:00:00:00:0{number}:0{index}"
        port = LocalPort(f"p{number}{index}", key, attach, mac, (f"10.{number}.1.{index + 1}/24",), MTU)
        flood = PutRows(key, Table.FLOOD, tables.flood([VTEPS[1 - index]]))
        for _, error in path.apply([PutSegment(segment), PutPort(port), flood]).failed:
            raise error


def measure(forwarder: Forwarder, load: str, seconds: int, share: int) -> None:
    before = forwarder.spent()
    with forwarder.held(share), _servers(forwarder):
        clients = [
            subprocess.Popen(
                ["ip", "netns", "exec", near, "iperf3", "-J", "-c", address, "-t", str(seconds), *_LOADS[load]],
                stdout=subprocess.PIPE,
                text=True,
            )
            for near, _, address in forwarder.ends
        ]
        ended = [json.loads(client.communicate(timeout=seconds + 30)[0])["end"] for client in clients]
    spent = forwarder.spent() - before
    figures = [end.get("sum_received") or end["sum"] for end in ended]
    octets = sum(figure["bytes"] for figure in figures)
    if "-u" in _LOADS[load]:
        came = sum(figure["packets"] * (1 - figure["lost_percent"] / 100) for figure in figures)
        forwarder.rate[load].append(came / seconds / 1e3)
        forwarder.cpu[load].append(spent / came * 1e6)
    else:
        forwarder.rate[load].append(octets * 8 / seconds / 1e9)
        forwarder.cpu[load].append(spent / octets * 1e9)


@contextlib.contextmanager
def _servers(forwarder: Forwarder) -> Iterator[None]:
    commands = [["ip", "netns", "exec", far, "iperf3", "-s", "-1"] for _, far, _ in forwarder.ends]
    servers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    time.sleep(0.3)
    try:
        yield
    finally:
        for server in servers:
            server.kill()
            server.wait()


def _spent(pid: int) -> float:
    """CPU seconds of a process, user and system."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def run(rounds: str = str(ROUNDS), seconds: str = str(SECONDS), share: str = "100") -> Iterator[str]:
    stage = Networks()
    try:
        one, two = both = stage.stand()
        for forwarder in both:
            for near, _, address in forwarder.ends:
                patiently("ip", "netns", "exec", near, "ping", "-c", "1", "-W", "1", address)
        for _ in range(int(rounds)):
            for load in _LOADS:
                for forwarder in both:
                    measure(forwarder, load, int(seconds), int(share))
    finally:
        stage.down()
    held = f", each process for {share} % of the time" if share != "100" else ""
    yield f"Medians of {rounds} rounds of {seconds} s{held}; both networks together.\n"
    yield "| | one process | two | two / one | CPU s, one | CPU s, two |"
    yield "|---|---|---|---|---|---|"
    for load in _LOADS:
        unit, per = ("thousand packets/s", "a million") if "-u" in _LOADS[load] else ("Gbit/s", "a GB")
        ratios = [b / a for a, b in zip(one.rate[load], two.rate[load], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
        rates = " | ".join(f"{statistics.median(each.rate[load]):.2f}" for each in both)
        costs = " | ".join(f"{statistics.median(each.cpu[load]):.2f}" for each in both)
        yield f"| {load}, {unit}; CPU {per} | {rates} | {spread} | {costs} |"
