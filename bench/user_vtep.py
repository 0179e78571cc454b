"""The user VTEP beside its peers, in one run on one veth pair. As root:

    python -m bench user_vtep [ROUNDS [SECONDS]]

    a ── [VTEP] ── h1 eth1 ═══ eth1 h2 ── [VTEP] ── b            six times, each with a UDP port and end points its own

Open vSwitch, which takes the NIC into a bridge of its own, has two more hosts with a veth pair like this one.

One TCP stream a→b through each contender in turn, round after round, so that whatever else the machine does hurts all
alike; figures are medians, ratios are medians of the rounds' ratios. CPU seconds are those of the whole machine
(/proc/stat), since the kernel's share of the work belongs to no process; on a busy machine they are an upper bound.
Each stream waits up to ten seconds for a quiet moment. Small packets: UDP of 64 octets as fast as they go for a second,
those that arrive; RTT: the median of 100 pings, one at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.traffic import busy
from weft.l2.datapath import Datapath
from weft.l2.kernel.datapath import KernelDatapath
from weft.l2.ovs import process
from weft.l2.ovs.datapath import OvsDatapath
from weft.l2.user.datapath import UserDatapath
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach, AttachKind
from weft.netlink import namespace
from weft.plan import tables
from weft.plan.operations import PutPort, PutRows, PutSegment
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Table

PEERS = Path(__file__).parent / "peers"
VTEPS = ("192.168.33.12", "192.168.33.13")
MTU = 1450
ROUNDS, SECONDS = 7, 2
_TRIES = 3
BAR_KERNEL, BAR_C, GOAL = 0.25, 8.0, 0.4


@dataclass
class Contender:
    """`ends`: the two end points' namespaces; `target`: the far one's address."""

    name: str
    ends: tuple[str, str]
    target: str
    gbits: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # seconds a GB
    rtt: list[float] = field(default_factory=list)  # milliseconds
    pps: list[float] = field(default_factory=list)


class Stage:
    """Namespaces, datapaths and processes of a run, all of which it removes again."""

    def __init__(self) -> None:
        self.prefix = f"weft-b-{os.getpid()}-"
        self.hosts = (f"{self.prefix}h1", f"{self.prefix}h2")
        self._made: list[str] = []
        self._stack = contextlib.ExitStack()

    def up(self) -> list[Contender]:
        for name in self.hosts:
            self._namespace(name)
        self._join(self.hosts)
        c, py = self._compiled(), [sys.executable, str(PEERS / "one_packet_proxy.py")]
        return [
            Contender("bare underlay", self.hosts, VTEPS[1]),
            self._datapaths("kernel VXLAN", 1, [KernelDatapath(namespace=host) for host in self.hosts]),
            self._datapaths("user VTEP", 2, [UserDatapath(namespace=host) for host in self.hosts]),
            self._datapaths("Open vSwitch", 5, self._switches()),
            self._proxies("C proxy", 3, [str(c)]),
            self._proxies("Python proxy", 4, py),
        ]

    def down(self) -> None:
        self._stack.close()
        for name in reversed(self._made):
            namespace.delete(name)

    def _namespace(self, name: str) -> str:
        namespace.create(name)
        self._made.append(name)
        return name

    def _join(self, hosts: tuple[str, str]) -> None:
        ip("-n", hosts[0], "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", hosts[1])
        for host, vtep in zip(hosts, VTEPS, strict=True):
            ip("-n", host, "address", "add", f"{vtep}/24", "dev", "eth1")
            ip("-n", host, "link", "set", "eth1", "up")

    def _switches(self) -> list[OvsDatapath]:
        """Two Open vSwitches, on hosts of their own, since each takes its host's NIC into a bridge."""
        place = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-")))
        hosts = (self._namespace(f"{self.prefix}o1"), self._namespace(f"{self.prefix}o2"))
        self._join(hosts)
        paths = []
        for host in hosts:
            instance = process.start(place / host, host)
            self._stack.callback(subprocess.run, ["kill", "-KILL", str(instance.switch), str(instance.database)])
            paths.append(OvsDatapath("bench", host, rundir=place / host))
        return paths

    def _ends(self, number: int) -> tuple[str, str]:
        return self._namespace(f"{self.prefix}a{number}"), self._namespace(f"{self.prefix}b{number}")

    def _datapaths(self, name: str, number: int, paths: Sequence[Datapath]) -> Contender:
        ends, key = self._ends(number), SegmentKey(4789 + number, 5000 + number)
        for index, path in enumerate(paths):
            self._stack.callback(path.close)
            if isinstance(path, UserDatapath):
                self._stack.callback(path.stop)
            segment = Segment(key, "bench", VTEPS[index], MTU, True, 300, Arp.FLOOD)
            attach = Attach(kind=AttachKind.NAMESPACE, target=ends[index])
            mac, address = f"02:00:00:00:0{number}:0{index}", f"10.{number}.1.{index + 1}/24"
            port = LocalPort(f"p{number}{index}", key, attach, mac, (address,), MTU)
            flood = PutRows(key, Table.FLOOD, tables.flood([VTEPS[1 - index]]))
            applied = path.apply([PutSegment(segment), PutPort(port), flood])
            if applied.failed:
                raise applied.failed[0][1]
        return Contender(name, ends, f"10.{number}.1.2")

    def _proxies(self, name: str, number: int, command: list[str]) -> Contender:
        ends = self._ends(number)
        for index, host in enumerate(self.hosts):
            words = [f"/run/netns/{ends[index]}", "eth0", VTEPS[index], VTEPS[1 - index], str(4789 + number), "7"]
            proxy = subprocess.Popen(["ip", "netns", "exec", host, *command, *words])
            self._stack.callback(proxy.wait)
            self._stack.callback(proxy.kill)
        for index, end in enumerate(ends):
            patiently("ip", "-n", end, "link", "set", "eth0", "mtu", str(MTU), "up")
            ip("-n", end, "address", "add", f"10.{number}.1.{index + 1}/24", "dev", "eth0")
        return Contender(name, ends, f"10.{number}.1.2")

    def _compiled(self) -> Path:
        binary = Path(self._stack.enter_context(tempfile.TemporaryDirectory())) / "one_packet_proxy"
        subprocess.run(["gcc", "-O2", "-o", binary, PEERS / "one_packet_proxy.c"], check=True)
        return binary


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def patiently(*command: str) -> None:
    for _ in range(100):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.05)
    raise SystemExit(f"failed: {' '.join(command)}")


def _quiet() -> None:
    """Waits for a moment in which nobody else works, but not for long."""
    for _ in range(20):
        before = busy()
        time.sleep(0.5)
        if busy() - before < 0.1:
            return


@contextlib.contextmanager
def _server(contender: Contender) -> Iterator[None]:
    command = ["ip", "netns", "exec", contender.ends[1], "iperf3", "-s", "-1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        time.sleep(0.3)
        try:
            yield
        finally:
            server.kill()


def _iperf(contender: Contender, *options: str) -> dict[str, float]:
    command = ["ip", "netns", "exec", contender.ends[0], "iperf3", "-J", "-c", contender.target, *options]
    for _ in range(_TRIES):
        with _server(contender):
            try:
                run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
            except subprocess.SubprocessError:  # a stall of one contender is not the end of a long run
                continue
        end: dict[str, dict[str, float]] = json.loads(run.stdout)["end"]
        return end.get("sum_received") or end["sum"]
    raise SystemExit(f"{contender.name} carries nothing")


def measure(contender: Contender, seconds: int) -> None:
    """One round."""
    _quiet()
    before = busy()
    found = _iperf(contender, "-t", str(seconds))
    contender.gbits.append(found["bits_per_second"] / 1e9)
    contender.cpu.append((busy() - before) / (found["bytes"] / 1e9))
    ping = ["ip", "netns", "exec", contender.ends[0], "ping", "-c", "100", "-i", "0.002", contender.target]
    text = subprocess.run(ping, capture_output=True, text=True, check=True).stdout
    contender.rtt.append(statistics.median(float(word) for word in re.findall(r"time=([0-9.]+) ms", text)))
    found = _iperf(contender, "-u", "-l", "64", "-b", "0", "-t", "1")
    arrived = found["packets"] - found.get("lost_packets", 0)
    contender.pps.append(arrived / found["seconds"])


def ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def report(contenders: list[Contender]) -> Iterator[str]:
    """The table and the verdict, in Markdown."""
    by_name = {each.name: each for each in contenders}
    kernel, user, c = (by_name[name] for name in ("kernel VXLAN", "user VTEP", "C proxy"))
    yield "| | Gbit/s | / kernel | CPU s a GB | RTT ms | / kernel | thousand packets/s | / kernel |"
    yield "|---|---|---|---|---|---|---|---|"
    for each in contenders:
        yield (
            f"| {each.name} | {statistics.median(each.gbits):.2f} | {ratio(each.gbits, kernel.gbits):.3f} "
            f"| {statistics.median(each.cpu):.2f} "
            f"| {statistics.median(each.rtt):.3f} | {ratio(each.rtt, kernel.rtt):.1f} "
            f"| {statistics.median(each.pps) / 1e3:.1f} | {ratio(each.pps, kernel.pps):.2f} |"
        )
    against_kernel, against_c = ratio(user.gbits, kernel.gbits), ratio(user.gbits, c.gbits)
    met = {True: "met", False: "missed"}
    yield ""
    yield f"user VTEP / kernel VXLAN: {against_kernel:.3f} (bar {BAR_KERNEL}: {met[against_kernel >= BAR_KERNEL]};"
    yield f"goal {GOAL}: {met[against_kernel >= GOAL]});"
    yield f"/ C proxy: {against_c:.1f} (bar {BAR_C:.0f}: {met[against_c >= BAR_C]})"


def run(*arguments: str) -> Iterator[str]:
    rounds, seconds = (*map(int, arguments), *(ROUNDS, SECONDS)[len(arguments) :])
    stage = Stage()
    try:
        contenders = stage.up()
        for _ in range(rounds):
            for contender in contenders:
                measure(contender, seconds)
    finally:
        stage.down()
    yield f"### One TCP stream, small UDP packets and RTT, {rounds} interleaved rounds of {seconds} s"
    yield from report(contenders)
