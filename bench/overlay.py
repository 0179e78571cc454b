"""One TCP stream over the overlay: Weft / the same topology made by hand with `ip` / the bare underlay; then the routed
one (bench.routed).

    python -m bench overlay [ROUNDS]

Two hosts on one LAN of veth pairs, a container on each, offloads on; iperf3 for two seconds a run, interleaved.
The figure is CPU-bound on this machine: ratios are what it says.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from bench import routed
from weft.lab import lab
from weft.model.file import parse

SECONDS = 2
ROUNDS = 9
NAME = "bench-overlay"
FILE = """
nodes:
  h1: {vtep: 192.168.33.1}
  h2: {vtep: 192.168.33.2}
networks:
  blue: {vni: 5000, subnet: 10.1.1.0/24}
ports:
  a: {network: blue, node: h1, ips: [10.1.1.1]}
  b: {network: blue, node: h2, ips: [10.1.1.2]}
"""
BY_HAND = """
ip netns add {c}
ip -n {h} link add br9 type bridge
ip -n {h} link add vx9 type vxlan id 9 dstport 4789 local {vtep}
ip -n {h} link set vx9 master br9 up
ip -n {h} link set br9 mtu 1450 up
bridge -n {h} fdb append 00:00:00:00:00:00 dev vx9 dst {peer}
ip -n {h} link add ve9 type veth peer name eth0 netns {c}
ip -n {h} link set ve9 master br9 mtu 1450 up
ip -n {c} link set eth0 mtu 1450 up
ip -n {c} address add {address}/24 dev eth0
"""


def run(*arguments: str) -> Iterator[str]:
    rounds = int(arguments[0]) if arguments else ROUNDS
    with _topology() as ends:
        figures: dict[str, list[float]] = {name: [] for name in ends}
        for _ in range(rounds):
            for name, end in ends.items():
                figures[name].append(_stream(*end))
    hand = [weft / by_hand for weft, by_hand in zip(figures["Weft"], figures["by hand"], strict=True)]
    yield f"### One TCP stream, {rounds} interleaved rounds of {SECONDS} s"
    yield "| | median Gbit/s | min | max |"
    yield "|---|---|---|---|"
    for name, of in figures.items():
        yield f"| {name} | {statistics.median(of):.2f} | {min(of):.2f} | {max(of):.2f} |"
    yield f"Weft / by hand, median of pairs: {statistics.median(hand):.3f}"
    yield ""
    yield from routed.run(*arguments)


@contextmanager
def _topology() -> Iterator[dict[str, tuple[str, str, str]]]:
    """Name → (client's namespace, server's namespace, server's address)."""
    lab.up(parse({f"{NAME}.yaml": FILE}), NAME)
    made: list[str] = []
    try:
        for number, peer in ((1, 2), (2, 1)):
            host, container = f"weft-{NAME}-h{number}", f"weft-{NAME}-hand{number}"
            made.append(container)
            values = {"h": host, "c": container, "vtep": f"192.168.33.{number}", "peer": f"192.168.33.{peer}"}
            for line in BY_HAND.format(**values, address=f"10.9.9.{number}").strip().splitlines():
                subprocess.run(line.split(), check=True)
        yield {
            "Weft": (f"weft-{NAME}-h1.a", f"weft-{NAME}-h2.b", "10.1.1.2"),
            "by hand": (f"weft-{NAME}-hand1", f"weft-{NAME}-hand2", "10.9.9.2"),
            "the bare underlay": (f"weft-{NAME}-h1", f"weft-{NAME}-h2", "192.168.33.2"),
        }
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False)
        lab.down(NAME)


def _stream(client: str, server: str, address: str) -> float:
    """Gbit/s of one iperf3 run."""
    inside = ["ip", "netns", "exec"]
    serving = subprocess.Popen(
        [*inside, server, "iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE, text=True
    )
    assert serving.stdout
    while "listening" not in serving.stdout.readline():
        pass
    command = [*inside, client, "iperf3", "-c", address, "-t", str(SECONDS), "-J"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS + 20)
    serving.wait(timeout=10)
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e9
