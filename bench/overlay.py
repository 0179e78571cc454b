"""One TCP stream over the overlay: Weft / the same topology made by hand with `ip` / the bare underlay; then the routed
one (bench.routed).

    python -m bench overlay [ROUNDS]

Hosts on one LAN of veth pairs, a container on each, offloads on; iperf3 for two seconds a run, interleaved; then what
a packet costs (bench.crossing). The figures are CPU-bound on this machine: ratios are what they say.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import by_hand, routed

ROUNDS = 9
NAME = "bench-overlay"
FILE = """
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
ip -n {c} address add 10.9.9.{number}/24 dev eth0
"""


def run(*arguments: str) -> Iterator[str]:
    count = int(arguments[0]) if arguments else ROUNDS
    ends = {
        "Weft": (f"weft-{NAME}-h1.a", f"weft-{NAME}-h2.b", "10.1.1.2"),
        "by hand": (by_hand.hand(NAME, 1), by_hand.hand(NAME, 2), "10.9.9.2"),
        "the bare underlay": (f"weft-{NAME}-h1", f"weft-{NAME}-h2", "192.168.33.2"),
    }
    yield from by_hand.compared("Bridged", NAME, FILE, _commands, ends, count)
    yield ""
    yield from routed.run(*arguments)


def _commands(number: int, values: dict[str, str]) -> str:
    return BY_HAND.format(**values, number=number)
