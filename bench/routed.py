"""One routed TCP stream, and small UDP packets, from one network into another: Weft / the same made by hand with `ip`.

    python -m bench overlay [ROUNDS]     (after the bridged stream)

Two hosts on one LAN, a container on each, in two networks. Weft: a distributed gateway on both hosts, asymmetric and
symmetric IRB. By hand, on two hosts more: the gateways' addresses on the bridges themselves, in the hosts' own
namespace, with permanent neighbor and FDB rows (the shortest way there is).
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import by_hand

ROUNDS = 9
NAME = "bench-routed"
FILE = """
networks:
  blue: {vni: 5000, subnet: 10.1.1.0/24}
  green: {vni: 6000, subnet: 10.1.2.0/24}
  red: {vni: 7000, subnet: 10.1.1.0/24}
  rose: {vni: 8000, subnet: 10.1.2.0/24}
routers:
  asymmetric: {gateways: {blue: 10.1.1.1, green: 10.1.2.1}}
  symmetric: {vni: 50000, gateways: {red: 10.1.1.1, rose: 10.1.2.1}}
ports:
  a: {network: blue, node: h1, ips: [10.1.1.11]}
  b: {network: green, node: h2, ips: [10.1.2.12]}
  c: {network: red, node: h1, ips: [10.1.1.11]}
  d: {network: rose, node: h2, ips: [10.1.2.12]}
"""
MAC = {1: "02:00:00:00:09:01", 2: "02:00:00:00:09:02"}
HOME = """
ip netns exec {h} sysctl -qw net.ipv4.ip_forward=1
ip netns add {c}
ip -n {h} link add ve9 type veth peer name eth0 netns {c}
ip -n {h} link set ve9 master br{mine} mtu 1450 up
ip -n {c} link set eth0 address {mac} mtu 1450 up
ip -n {c} address add 10.9.{mine}.2/24 dev eth0
ip -n {c} route add default via 10.9.{mine}.1
ip -n {h} neighbor add 10.9.{mine}.2 lladdr {mac} dev br{mine} nud permanent
ip -n {h} neighbor add 10.9.{other}.2 lladdr {far} dev br{other} nud permanent
bridge -n {h} fdb add {far} dev vx{other} dst {peer} self permanent
bridge -n {h} fdb add {far} dev vx{other} master static
"""
NETWORK = """
ip -n {h} link add br{vni} type bridge
ip -n {h} link add vx{vni} type vxlan id {vni} dstport 4789 local {vtep} nolearning
ip -n {h} link set vx{vni} master br{vni} up
ip -n {h} link set br{vni} mtu 1450 up
ip -n {h} address add 10.9.{vni}.1/24 dev br{vni}
"""


def run(*arguments: str) -> Iterator[str]:
    count = int(arguments[0]) if arguments else ROUNDS
    ends = {
        "Weft, asymmetric": (f"weft-{NAME}-h1.a", f"weft-{NAME}-h2.b", "10.1.2.12"),
        "by hand": (by_hand.hand(NAME, 1), by_hand.hand(NAME, 2), "10.9.10.2"),
        "Weft, symmetric": (f"weft-{NAME}-h1.c", f"weft-{NAME}-h2.d", "10.1.2.12"),
    }
    yield from by_hand.compared("Routed from one network into another", NAME, FILE, _commands, ends, count)


def _commands(number: int, values: dict[str, str]) -> str:
    values = values | {"mine": str(8 + number), "other": str(11 - number), "mac": MAC[number], "far": MAC[3 - number]}
    return "".join(text.format(**values, vni=vni) for text, vni in ((NETWORK, 9), (NETWORK, 10), (HOME, 0)))
