"""Routed segments on this kernel: packets pass, tampering heals, strangers' routes survive, a restart is nothing."""

from __future__ import annotations

import json
import select
import subprocess
from dataclasses import replace

import pytest

from tests.fleet import network
from tests.l2.l2_world import PATIENCE, Underlay, bring, ip
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.l2.kernel.datapath import KernelDatapath
from weft.model.intent import Intent
from weft.model.network import Network, Routed
from weft.model.node import Node
from weft.plan.diff import diff
from weft.plan.node import NodePlan
from weft.plan.segment import Segment

pytestmark = pytest.mark.system

DEVICE = "wx1.2118"


def pods(six: bool = False, **more: str) -> Network:
    subnet, one, other = ("fd00:2::/48", "fd00:2:0:5::/64", "fd00:2:0:e::/64") if six else FOUR
    prefixes = {"h1": one, "h2": other} | more
    routed = Routed(prefix_length=64 if six else 24, prefixes=prefixes)
    return network("pods", 1, subnets=(subnet,), udp_port=8472, routed=routed)


FOUR = ("10.2.0.0/16", "10.2.5.0/24", "10.2.14.0/24")


def plan(world: Underlay, host: int, of: Network, third: bool = False) -> NodePlan:
    nodes = {f"h{number}": Node(name=f"h{number}", vtep=vtep) for number, vtep in enumerate(world.vteps, 1)}
    if third:
        nodes["h3"] = Node(name="h3", vtep="192.168.33.14")
    return compile_node(World.of(Intent(nodes, {of.name: of})), f"h{host + 1}")


def up(world: Underlay, of: Network) -> tuple[KernelDatapath, KernelDatapath]:
    paths = world.datapath(0), world.datapath(1)
    for host, path in enumerate(paths):
        bring(path, plan(world, host, of))
    return paths


def reaches(world: Underlay, target: str, source: str) -> bool:
    command = ["ip", "netns", "exec", world.hosts[0], "ping", "-c", "2", "-i", "0.05", "-W", "10", "-I", source, target]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def routes(world: Underlay) -> list[dict[str, object]]:
    done = subprocess.run(["ip", "-n", world.hosts[0], "-j", "route"], capture_output=True, check=True)
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("six", [False, True])
def test_hosts_reach_each_others_prefixes(underlay: Underlay, six: bool) -> None:
    up(underlay, pods(six))
    ones, others = ("fd00:2:0:5::1/128", "fd00:2:0:e::1/128") if six else ("10.2.5.1/32", "10.2.14.1/32")
    for host, address in zip(underlay.hosts, (ones, others), strict=True):
        ip(host, "ip", "link", "set", "lo", "up")
        ip(host, "ip", "address", "add", address, "dev", "lo")
    assert reaches(underlay, others.partition("/")[0], ones.partition("/")[0])


# what somebody does on the host → words of the operations that mend it
TAMPERING: dict[str, tuple[str, tuple[str, ...]]] = {
    "device deleted": (f"ip link del {DEVICE}", ("+ segment 1.8472", "+ fdb", "+ neighbors", "+ routes")),
    "device down": (f"ip link set {DEVICE} down", (f"{DEVICE} is down", "+ routes")),
    "another MAC": (f"ip link set {DEVICE} address 02:00:00:00:00:99", ("mac 02:00:00:00:00:99 → ",)),
    "address deleted": (f"ip address del 10.2.5.0/32 dev {DEVICE}", ("~ segment 1.8472", "+ routes")),
    "address added": (f"ip address add 10.9.9.9/24 dev {DEVICE}", ("10.9.9.9/24",)),
    "MTU": (f"ip link set {DEVICE} mtu 1300", ("mtu 1300 → 1450",)),
    "learning": (f"ip link set {DEVICE} type vxlan learning", ("learning yes → no",)),
    "renamed": (f"ip link set {DEVICE} down name mine", (f"{DEVICE} is called mine",)),
    "into a bridge": (f"ip link add br9 type bridge && ip link set {DEVICE} master br9", (f"{DEVICE} is in a bridge",)),
    "route deleted": ("ip route del 10.2.14.0/24", ("+ routes 1.8472: 10.2.14.0/24 → 10.2.14.0",)),
    "route changed": (
        f"ip route replace 10.2.14.0/24 via 10.2.14.9 dev {DEVICE} onlink proto 87 metric 10",
        ("+ routes 1.8472: 10.2.14.0/24 → 10.2.14.0",),
    ),
    "route added": (
        f"ip route add 10.2.99.0/24 via 10.2.99.0 dev {DEVICE} onlink proto 87 metric 10",
        ("- routes 1.8472: 10.2.99.0/24 → 10.2.99.0",),
    ),
    "neighbor deleted": (f"ip neigh del 10.2.14.0 dev {DEVICE}", ("+ neighbors 1.8472: 10.2.14.0",)),
    "neighbor added": (
        f"ip neigh add 10.2.99.0 lladdr 02:00:00:00:00:99 dev {DEVICE} nud permanent",
        ("- neighbors 1.8472: 10.2.99.0",),
    ),
    "row changed": (f"bridge fdb replace $MAC dev {DEVICE} dst 192.168.33.99 self static", ("+ fdb 1.8472",)),
    "row added": (f"bridge fdb add 02:00:00:00:00:99 dev {DEVICE} dst 192.168.33.99", ("- fdb 1.8472: 02:00",)),
    "flooding": (f"bridge fdb append 00:00:00:00:00:00 dev {DEVICE} dst 192.168.33.99 self", ("- flood 1.8472",)),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_noticed_and_mended(underlay: Underlay, what: str) -> None:
    path, _ = up(underlay, pods())
    path.events()
    command, expected = TAMPERING[what]
    wanted = plan(underlay, 0, pods())
    (other,) = plan(underlay, 1, pods()).segments.values()
    assert other.routed is not None
    ip(underlay.hosts[0], "sh", "-c", command.replace("$MAC", other.routed.mac))
    while not path.events():
        assert select.select([path.events_fd()], [], [], PATIENCE)[0]
    told = "\n".join(bring(path, wanted))
    assert all(words in told for words in expected), told


def test_a_peer_that_left_leaves_nothing_and_strangers_stay(underlay: Underlay) -> None:
    path = underlay.datapath(0)
    bring(path, plan(underlay, 0, pods(h3="10.2.20.0/24"), third=True))
    ip(underlay.hosts[0], "ip", "route", "add", "10.2.99.0/24", "via", "10.2.14.0", "dev", DEVICE, "onlink")
    ip(underlay.hosts[0], "ip", "route", "add", "10.77.0.0/16", "via", "192.168.33.13", "proto", "87", "metric", "10")
    told = bring(path, plan(underlay, 0, pods()))
    assert sorted(line.split()[0] + line.split()[1] for line in told) == ["-fdb", "-neighbors", "-routes"]
    left = {str(route["dst"]) for route in routes(underlay)}
    assert {"10.2.14.0/24", "10.2.99.0/24", "10.77.0.0/16"} <= left
    assert "10.2.20.0/24" not in left


def test_a_successor_changes_nothing(underlay: Underlay) -> None:
    up(underlay, pods())
    assert bring(underlay.datapath(0), plan(underlay, 0, pods())) == []


def test_what_a_path_writes_itself_is_no_news(underlay: Underlay) -> None:
    path = underlay.datapath(0)
    bring(path, plan(underlay, 0, pods()))
    path.events()
    more = plan(underlay, 0, pods(h3="10.2.20.0/24"), third=True)
    operations = diff(more, path.observe())
    path.events()
    assert path.apply(operations).failed == ()
    assert [event for event in path.events() if event.what.startswith(("row", "route"))] == []


def test_another_prefix_or_vtep_moves_the_device(underlay: Underlay) -> None:
    path, _ = up(underlay, pods())
    bring(path, plan(underlay, 0, pods(h1="10.2.6.0/24")))
    moved = plan(underlay, 0, pods(h1="10.2.6.0/24"))
    key, segment = next(iter(moved.segments.items()))
    bring(path, replace(moved, segments={key: replace(segment, vtep="192.168.33.99")}))
    (found,) = path.observe().segments.values()
    assert found.vtep == "192.168.33.99"
    assert found.routed == segment.routed


def test_a_network_changes_its_kind_both_ways(underlay: Underlay) -> None:
    path, _ = up(underlay, pods())
    routed = plan(underlay, 0, pods())
    (key,) = routed.segments
    plain = routed.segments[key]
    bridged = Segment(key, "pods", plain.vtep, plain.mtu, False, 300, plain.arp)
    bring(path, NodePlan("h1", {key: bridged}, {key: type(routed.tables[key])()}))
    bring(path, routed)
    bring(path, NodePlan("h1"))
    done = subprocess.run(["ip", "-n", underlay.hosts[0], "-o", "link"], capture_output=True, text=True, check=True)
    assert "1.2118" not in done.stdout
