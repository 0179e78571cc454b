"""Flannel's udp backend beside a C proxy of its kind, in one run on one veth pair. As root:

    python -m bench flannel-udp [ROUNDS [SECONDS]]

    [h1: TUN] ── proxy ── eth1 ═══ eth1 ── proxy ── [h2: TUN]     twice, each with a UDP port and addresses of its own

One TCP stream h1→h2 through each contender in turn, round after round; figures are medians, ratios are medians of the
rounds' ratios (bench.user_vtep says more). The C proxy moves one packet a system call, with no table and no check.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.user_vtep import PEERS, VTEPS, Contender, ip, measure, patiently, ratio
from weft.l2.user.iptunnel.tunnels import IpTunnels
from weft.netlink import namespace
from weft.plan import tables
from weft.plan.iptunnel import OVERHEAD, IpTunnel, TunnelPlan, tunnel_diff

ROUNDS, SECONDS = 7, 2
BAR = 8.0
FLANNELS = 0.24
"""Gbit/s that flannel's own C proxy moved where these figures were first taken."""
MTU = 1500 - OVERHEAD


class Stage:
    """Namespaces, tunnels and processes of a run, all of which it removes again."""

    def __init__(self) -> None:
        prefix = f"weft-f-{os.getpid()}-"
        self.hosts = (f"{prefix}h1", f"{prefix}h2")
        self._stack = contextlib.ExitStack()

    def up(self) -> list[Contender]:
        for name in self.hosts:
            namespace.create(name)
            self._stack.callback(namespace.delete, name)
        ip("-n", self.hosts[0], "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", self.hosts[1])
        for host, address in zip(self.hosts, VTEPS, strict=True):
            ip("-n", host, "address", "add", f"{address}/24", "dev", "eth1")
            ip("-n", host, "link", "set", "eth1", "up")
            ip("-n", host, "link", "set", "lo", "up")
        return [Contender("bare underlay", self.hosts, VTEPS[1]), self._backend(), self._proxies()]

    def down(self) -> None:
        self._stack.close()

    def _backend(self) -> Contender:
        own = ("10.2.5.0", "10.2.14.0")
        for index, host in enumerate(self.hosts):
            tunnels = IpTunnels("bench-flannel", host)
            self._stack.callback(tunnels.close)
            self._stack.callback(tunnels.stop)
            tunnel = IpTunnel("flannel0", f"{own[index]}/32", "10.2.0.0/16", VTEPS[index], 8285, MTU)
            routes = tables.routes([(f"{own[1 - index]}/24", VTEPS[1 - index])])
            for _, error in tunnels.apply(tunnel_diff({tunnel.device: TunnelPlan(tunnel, routes)}, {})):
                raise error
        return Contender("udp backend", self.hosts, own[1])

    def _proxies(self) -> Contender:
        own = ("10.3.5.0", "10.3.14.0")
        binary = Path(self._stack.enter_context(tempfile.TemporaryDirectory())) / "proxy"
        subprocess.run(["gcc", "-O2", "-o", binary, PEERS / "one_packet_tun_proxy.c"], check=True)
        for index, host in enumerate(self.hosts):
            words = [str(binary), "proxy0", VTEPS[index], VTEPS[1 - index], "8286"]
            process = subprocess.Popen(["ip", "netns", "exec", host, *words])
            self._stack.callback(process.wait)
            self._stack.callback(process.kill)
            patiently("ip", "-n", host, "link", "set", "proxy0", "mtu", str(MTU), "up")
            ip("-n", host, "address", "add", f"{own[index]}/32", "dev", "proxy0")
            ip("-n", host, "route", "add", "10.3.0.0/16", "dev", "proxy0")
        return Contender("C proxy", self.hosts, own[1])


def report(contenders: list[Contender]) -> Iterator[str]:
    """The table and the verdict, in Markdown."""
    bare, backend, c = contenders
    yield "| | Gbit/s | / C proxy | CPU s a GB | RTT ms | / C proxy | thousand packets/s | / C proxy |"
    yield "|---|---|---|---|---|---|---|---|"
    for each in (bare, backend, c):
        yield (
            f"| {each.name} | {statistics.median(each.gbits):.2f} | {ratio(each.gbits, c.gbits):.2f} "
            f"| {statistics.median(each.cpu):.2f} "
            f"| {statistics.median(each.rtt):.3f} | {ratio(each.rtt, c.rtt):.1f} "
            f"| {statistics.median(each.pps) / 1e3:.1f} | {ratio(each.pps, c.pps):.2f} |"
        )
    here, noted = ratio(backend.gbits, c.gbits), statistics.median(backend.gbits) / FLANNELS
    met = {True: "met", False: "missed"}
    yield ""
    yield f"udp backend / C proxy here: {here:.1f} (bar {BAR:.0f}: {met[here >= BAR]});"
    yield f"/ the {FLANNELS} Gbit/s noted of flannel's own: {noted:.1f} ({met[noted >= BAR]})"


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
