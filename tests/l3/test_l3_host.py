"""A router in its host's own network stack: what is put is what is read, drift heals, and what is others' stays."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from msgspec import structs

from tests.fleet import network, nodes, port
from tests.l2.conftest import Underlay, underlay  # noqa: F401
from tests.l3.test_l3_kernel import PATIENCE, Place, layers, told
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.model.intent import Intent
from weft.model.router import Route, Router
from weft.netlink import namespace
from weft.plan.diff import diff
from weft.plan.node import NodePlan

pytestmark = pytest.mark.system

GATE = Router(
    name="gate",
    namespace="host",
    gateways={"ten": ("10.1.1.1",), "twenty": ("20.1.1.1",)},
    placement=("h1",),
    routes=(Route(to="50.1.1.0/24", via=("10.1.1.2", "10.1.1.3")),),
)
BUSY = (  # a host with a life of its own
    "ip link add app type veth peer name far; ip link set app up; ip link set far up",
    "ip address add 172.20.0.1/24 dev app",
    "ip address add 172.21.0.1/24 dev lo",
    "ip route add 99.0.0.0/8 via 172.20.0.2 dev app",
    "ip route add 98.0.0.0/8 via 172.20.0.2 dev app proto 87 metric 20",
    "ip route add 97.0.0.0/8 via 172.20.0.2 dev app proto 88",
    "ip rule add priority 50 to 99.0.0.0/8 table 77; ip rule add priority 51 to 98.0.0.0/8 table 77 protocol 87",
    "ip neighbor add 172.20.0.9 lladdr 02:99:99:99:99:99 dev app nud permanent",
    "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1",
)
# All that is the host's own: what bears no name of ours
LIFE = (
    "ip -o -4 address; ip -4 route show table all; ip -4 rule; ip -4 neighbor show dev app; ip -o link show app; "
    "cd /proc/sys/net; grep -r . ipv4/conf/all ipv4/conf/default ipv4/conf/app ipv6/conf/default ipv4/ip_forward "
    "ipv4/icmp_errors_use_inbound_ifaddr ipv4/fib_multipath_hash_policy 2>/dev/null || true"
)


def wanted(*routers: Router) -> NodePlan:
    ten, twenty = network("ten", 10, subnets=("10.1.1.0/24",)), network("twenty", 20, subnets=("20.1.1.0/24",))
    ports = {"a": port("a", "ten", "h1", 11), "b": port("b", "ten", "h2", 12)}
    intent = Intent(nodes(2), {"ten": ten, "twenty": twenty}, {router.name: router for router in routers}, ports)
    return compile_node(World.of(intent), "h1")


@pytest.fixture
def place(underlay: Underlay) -> Iterator[Place]:  # noqa: F811
    underlay.namespace("a")
    found = Place(underlay, layers(underlay))
    for command in BUSY:
        found.run(found.host, command)
    deadline = time.monotonic() + PATIENCE
    while " state UP " not in found.run(found.host, "ip -o link show app"):  # told from a queue of the kernel's own
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield found
    finally:
        found.path.close()
        namespace.delete(found.router("gate"))


def life(place: Place) -> list[str]:
    told = place.run(place.host, LIFE).splitlines()
    return [line for line in told if not any(word in line for word in ("wi10", "wi20", "50.1.1.0/24 proto 87"))]


def test_what_is_put_is_what_is_read_and_a_successor_has_nothing_to_do(place: Place) -> None:
    before = life(place)
    plan = wanted(GATE)
    applied = place.apply(plan)
    assert [f"{operation}: {error}" for operation, error in applied.failed] == []
    assert place.left(plan) == []
    successor = place.again()
    try:
        assert [str(operation) for operation in diff(plan, successor.observe())] == []
    finally:
        successor.close()
    assert life(place) == before
    assert "10.1.1.12" in place.run(place.host, "ip neighbor show dev wi10 nud permanent")
    assert place.run(place.host, "ip route show 50.1.1.0/24").count("nexthop") == 2
    assert not namespace.exists(place.router("gate"))


def test_what_is_others_survives_put_change_and_drop(place: Place) -> None:
    before = life(place)
    assert place.apply(wanted(GATE)).ok
    changed = structs.replace(
        GATE, gateways={"ten": ("10.1.1.99",)}, routes=(Route(to="51.1.1.0/24", via=("10.1.1.4",)),)
    )
    for plan in (wanted(changed), wanted(GATE), NodePlan("h1")):
        for _ in range(3):  # what goes along with a device shows once that is back
            applied = place.apply(plan)
            assert [f"{operation}: {error}" for operation, error in applied.failed] == []
        assert place.left(plan) == []
        assert life(place) == before
    assert "wi10" not in place.run(place.host, "ip -o link; ip route show table all; ip rule")


@pytest.mark.parametrize(
    "command",
    [
        "ip route del 50.1.1.0/24",
        "ip route del 10.1.1.0/24 dev wi10",
        "ip route replace 50.1.1.0/24 via 10.1.1.9 dev wi10 onlink proto 87 metric 20",
        "ip route add 51.1.1.0/24 via 10.1.1.9 dev wi10 onlink proto 87 metric 20",
        "ip address del 10.1.1.1/24 dev wi10",
        "ip address add 10.1.1.77/24 dev wi10",
        "ip neighbor del 10.1.1.12 dev wi10",
        "ip link set wi10 down",
        "ip link del wi10",
        "sysctl -qw net.ipv4.conf.wi10.forwarding=0",
        "sysctl -qw net.ipv4.ip_forward=1; sysctl -qw net.ipv4.ip_forward=0",
    ],
)
def test_drift_is_told_and_heals(place: Place, command: str) -> None:
    plan = wanted(GATE)
    place.path.events_fd()
    assert place.apply(plan).ok
    place.path.observe()
    place.path.events()
    place.run(place.host, command)
    told(place, "router gate: ")
    assert place.left(plan), "it is seen"
    for _ in range(3):
        place.apply(plan)
    assert place.left(plan) == []


def test_what_others_do_in_the_host_is_no_event_of_ours(place: Place) -> None:
    place.path.events_fd()
    assert place.apply(wanted(GATE)).ok
    place.path.observe()
    place.path.events()
    place.run(place.host, "ip route add 96.0.0.0/8 dev app; ip rule add priority 60 to 96.0.0.0/8 table 78")
    place.run(place.host, "ip address add 172.22.0.1/24 dev app; sysctl -qw net.ipv4.conf.app.forwarding=1")
    place.run(place.host, "ip neighbor add 172.20.0.8 lladdr 02:88:88:88:88:88 dev app nud permanent; ip link del app")
    assert [event.what for event in place.path.events() if event.what.startswith("router")] == []


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("ip route add 10.1.1.128/25 dev app", "the host has 10.1.1.128/25, which lies in its subnet 10.1.1.0/24"),
        ("ip route add blackhole 10.1.1.0/24", "the host has 10.1.1.0/24, which lies in its subnet 10.1.1.0/24"),
        ("ip address add 10.1.1.50/32 dev lo", "the host has 10.1.1.50/32, which lies in its subnet 10.1.1.0/24"),
        ("ip route add 50.1.1.0/24 dev app metric 20", "the host has a route to 50.1.1.0/24 already"),
    ],
)
def test_what_lies_in_the_way_is_told_and_left_alone(place: Place, command: str, what: str) -> None:
    place.run(place.host, command)
    before = life(place)
    applied = place.apply(wanted(GATE))
    assert any(what in str(error) for _, error in applied.failed)
    assert life(place) == before
    place.apply(NodePlan("h1"))
    assert life(place) == before


def test_a_strangers_device_of_the_name_is_left_alone(place: Place) -> None:
    place.run(place.host, "ip link add wi10 type veth peer name theirs; ip link set wi10 alias mine")
    place.run(place.host, "ip link add wg10 type veth peer name other")
    applied = place.apply(wanted(GATE))
    assert any("not weft's" in str(error) for _, error in applied.failed)
    place.apply(NodePlan("h1"))
    told = place.run(place.host, "ip -o link")
    assert "wi10@theirs" in told
    assert "alias mine" in told
    assert "wg10@other" in told


def test_it_moves_into_a_namespace_of_its_own_and_back(place: Place) -> None:
    before = life(place)
    own = structs.replace(GATE, namespace=None)
    for router in (own, GATE, own, GATE):
        plan = wanted(router)
        for _ in range(4):
            place.apply(plan)
        assert place.left(plan) == []
        assert namespace.exists(place.router("gate")) is (router is own)
        assert life(place) == before


def test_the_host_itself_and_hosts_of_both_networks_reach_each_other(place: Place) -> None:
    assert place.apply(wanted(GATE)).ok
    place.run(place.host, "ping -c 1 -W 10 10.1.1.11")
    place.run(f"{place.world.prefix}a", "ping -c 1 -W 10 20.1.1.1")
