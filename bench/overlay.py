"""One TCP stream over the overlay: Weft / the same topology made by hand with `ip` / the bare underlay; then the routed
one (bench.routed).

    python -m bench overlay [ROUNDS]

Two hosts on one LAN of veth pairs, a container on each, offloads on; iperf3 for two seconds a run, interleaved.
The figure is CPU-bound on this machine: ratios are what it says.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from bench import routed, traffic
from weft.lab import lab
from weft.model.file import parse

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
    count = int(arguments[0]) if arguments else ROUNDS
    with _topology() as ends:
        figures = traffic.rounds(ends, count)
    yield f"### Bridged, {count} interleaved rounds of {traffic.SECONDS} s"
    yield from traffic.table(figures, "by hand")
    yield ""
    yield from routed.run(*arguments)


@contextmanager
def _topology() -> Iterator[dict[str, traffic.End]]:
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
