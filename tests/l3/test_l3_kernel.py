"""Routers on this kernel: what is put is what is read, tampering heals, strangers' things survive, nothing is left."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fleet import network, nodes, port
from tests.l2.conftest import Underlay, underlay  # noqa: F401
from weft.agent.layers import Layers, open_layers
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.l2.datapath import Applied
from weft.model.endpoint import Endpoint
from weft.model.intent import Intent
from weft.model.node import DatapathKind
from weft.model.router import External, Policy, Route, Router
from weft.netlink import namespace
from weft.plan import tables
from weft.plan.diff import diff
from weft.plan.node import NodePlan
from weft.plan.router import RouterDevice
from weft.wire.packet import dissect

pytestmark = pytest.mark.system
PATIENCE = 60.0
"""Seconds after which a test gives up; says nothing about how fast it should be."""

_EVERYTHING = socket.htons(0x0003)  # ETH_P_ALL: what goes out, too

TENANT = Router(
    name="tenant",
    vni=5000,
    gateways={"ten": ("10.1.1.1", "2001:db8:1::1"), "twenty": ("20.1.1.1",)},
    routes=(
        Route(to="50.1.1.0/24", via=("10.1.1.2", "10.1.1.3")),
        Route(to="2001:db8:50::/64", via=("2001:db8:1::2",)),
    ),
    policies=(Policy(via=("10.1.1.3",), source="10.1.1.0/24", protocol="tcp", ports=(443, 8443)),),
)
EDGE = Router(
    name="edge",
    gateways={"ten": ("10.1.1.2", "2001:db8:1::9"), "twenty": ("20.1.1.2",)},
    placement=("h1",),
    routes=(Route(to="0.0.0.0/0", via=("60.1.1.1",)),),
    external=(
        External(
            node="h1",
            interface="eth9",
            address="60.1.1.254/24",
            nat="masquerade",
            static=(("10.1.1.11", "60.1.1.11"), ("10.1.1.12", "60.1.1.12")),
        ),
    ),
)


def wanted(*routers: Router) -> NodePlan:
    ten = network("ten", 10, subnets=("10.1.1.0/24", "2001:db8:1::/64"))
    twenty = network("twenty", 20, subnets=("20.1.1.0/24",))
    ports = {"a": port("a", "ten", "h1", 11), "b": port("b", "ten", "h2", 12)}
    seen = [Endpoint(key=twenty.key, mac="02:00:00:00:00:77", node="h2", ips=("20.1.1.7",), source="learned")]
    intent = Intent(nodes(2), {"ten": ten, "twenty": twenty}, {router.name: router for router in routers}, ports)
    return compile_node(World.of(intent, seen=seen), "h1")


@dataclass
class Place:
    world: Underlay
    path: Layers

    @property
    def host(self) -> str:
        return self.world.hosts[0]

    def router(self, name: str) -> str:
        return f"{self.world.prefix}wr-{name}"

    def run(self, where: str, command: str) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", where, "sh", "-c", command],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        return done.stdout

    def apply(self, plan: NodePlan) -> Applied:
        return self.path.apply(diff(plan, self.path.observe()))

    def left(self, plan: NodePlan) -> list[str]:
        return [str(operation) for operation in diff(plan, self.path.observe())]

    def again(self) -> Layers:
        return layers(self.world)


def told(place: Place, what: str) -> None:
    """Waits until an event begins like this."""
    heard: list[str] = []
    while not any(each.startswith(what) for each in heard):
        assert select.select([place.path.events_fd()], [], [], PATIENCE)[0], f"only this came: {heard}"
        heard += [event.what for event in place.path.events()]


def layers(world: Underlay) -> Layers:
    return open_layers(DatapathKind.KERNEL, "default", world.hosts[0], lambda name: f"{world.prefix}{name}")


@pytest.fixture
def place(underlay: Underlay) -> Iterator[Place]:  # noqa: F811
    underlay.namespace("a")
    found = Place(underlay, layers(underlay))
    found.run(found.host, "ip link add eth9 type veth peer name far9; ip link set eth9 alias mine; ip link set far9 up")
    try:
        yield found
    finally:
        found.path.close()
        for name in ("tenant", "edge", "other"):
            namespace.delete(found.router(name))


def test_what_is_put_is_what_is_read_and_twice_is_nothing(place: Place) -> None:
    plan = wanted(TENANT, EDGE)
    applied = place.apply(plan)
    assert [f"{operation}: {error}" for operation, error in applied.failed] == []
    assert place.left(plan) == []
    successor = place.again()
    try:
        assert [str(operation) for operation in diff(plan, successor.observe())] == []
    finally:
        successor.close()


@pytest.mark.parametrize(
    ("router", "command"),
    [
        ("tenant", "ip route del 50.1.1.0/24"),
        ("tenant", "ip route replace 50.1.1.0/24 via 10.1.1.9 dev wi10 onlink proto 87 metric 20"),
        ("tenant", "ip route add 51.1.1.0/24 via 10.1.1.9 dev wi10 onlink proto 87 metric 20"),
        ("tenant", "ip -6 route del 2001:db8:50::/64"),
        ("tenant", "ip route del 10.1.1.12"),
        ("tenant", "ip rule del priority 1001"),
        ("tenant", "ip rule add priority 1009 to 9.9.9.9 table 7 protocol 87"),
        ("tenant", "ip route flush table 1000"),
        ("tenant", "ip neighbor del 10.1.1.11 dev wi10"),
        ("tenant", "ip neighbor replace 10.1.1.99 lladdr 02:66:66:66:66:66 dev wi10 nud permanent"),
        ("tenant", "bridge fdb flush dev wx5000"),
        ("tenant", "ip link del wg10"),
        ("tenant", "ip link del wx5000"),
        ("tenant", "ip link set wx5000 down"),
        ("tenant", "ip link set wx5000 address 02:66:66:66:66:66"),
        ("tenant", "ip link set wg10 down"),
        ("tenant", "ip link set wi10 down"),
        ("tenant", "ip link del wi10"),
        ("tenant", "ip address del 10.1.1.1/32 dev wg10"),
        ("tenant", "ip address add 10.1.1.77/32 dev wg10"),
        ("tenant", "ip address del 192.168.33.11/32 dev wx5000"),
        ("tenant", "sysctl -qw net.ipv4.ip_forward=0"),
        ("tenant", "sysctl -qw net.ipv4.conf.wi10.arp_ignore=0"),
        ("edge", "nft flush ruleset"),
        ("edge", "ip link set eth9 down"),
        ("edge", "ip address flush dev eth9"),
        ("edge", "ip address del 10.1.1.2/24 dev wi10"),
        ("edge", "ip route del default"),
        ("edge", "ip route del 10.1.1.0/24"),
        ("edge", "ip route del 60.1.1.0/24 dev eth9"),
        ("edge", "ip -6 route del 2001:db8:1::/64 dev wi10"),
    ],
)
def test_tampering_is_seen_and_heals(place: Place, router: str, command: str) -> None:
    connected = "ip route show proto kernel; ip -6 route show proto kernel 2001:db8:1::/64"
    plan = wanted(TENANT, EDGE)
    assert place.apply(plan).ok
    before = sorted(place.run(place.router(router), connected).splitlines())
    place.run(place.router(router), command)
    assert place.left(plan), "it is seen"
    for _ in range(3):  # what goes along with a device shows once that is back
        place.apply(plan)
    assert place.left(plan) == []
    assert sorted(place.run(place.router(router), connected).splitlines()) == before


def test_an_interface_that_is_put_announces_its_own_gateways_and_no_others(place: Place) -> None:
    """With a router in many networks, to announce all of them at each would be a square of it."""
    plan = wanted(EDGE)
    assert place.apply(plan).ok
    with namespace.socket_in(place.router("edge"), socket.AF_PACKET, socket.SOCK_RAW, _EVERYTHING) as ear:
        place.run(place.router("edge"), "ip address del 10.1.1.2/24 dev wi10")
        assert place.apply(plan).ok
        said = list(_arp(ear))
    assert said == [("10.1.1.2", "10.1.1.2")]


def _arp(ear: socket.socket) -> Iterator[tuple[str, str]]:
    """Sender and target of the ARP that a packet socket has heard so far."""
    ear.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            if heard := dissect(ear.recv(2048)).arp:
                yield heard.sender_ip, heard.target_ip


def test_a_namespace_that_vanished_is_made_anew(place: Place) -> None:
    plan = wanted(TENANT)
    assert place.apply(plan).ok
    namespace.delete(place.router("tenant"))
    deadline = time.monotonic() + PATIENCE
    while place.left(plan):  # the kernel takes its time with the old one, and its VNI is not free before
        assert time.monotonic() < deadline, place.left(plan)
        place.apply(plan)
        time.sleep(0.1)


def test_strangers_routes_rules_and_devices_survive(place: Place) -> None:
    plan = wanted(TENANT)
    assert place.apply(plan).ok
    inside = place.router("tenant")
    place.run(inside, "ip link add dummy9 type veth peer name dummy8; ip link set dummy9 up")
    place.run(inside, "ip route add 99.0.0.0/8 dev dummy9; ip rule add priority 50 to 99.0.0.0/8 table 77")
    assert place.left(plan) == []
    assert place.apply(wanted(Router(name="tenant", vni=5000, gateways=TENANT.gateways))).ok
    assert "99.0.0.0/8" in place.run(inside, "ip route")
    assert "50:" in place.run(inside, "ip rule")


@pytest.mark.parametrize(
    ("router", "command", "what"),
    [
        ("tenant", "ip route del 50.1.1.0/24", "route gone"),
        ("tenant", "ip neighbor del 10.1.1.11 dev wi10", "neighbor written"),
        ("tenant", "sysctl -qw net.ipv4.ip_forward=0", "forwarding, rp_filter or proxy_arp changed"),
        ("tenant", "sysctl -qw net.ipv6.conf.all.forwarding=0", "forwarding, rp_filter or proxy_arp changed"),
        ("edge", "ip route del 10.1.1.0/24", "route gone"),
        ("edge", "nft flush ruleset", "nft table changed"),
        ("edge", "nft insert rule inet weft out accept", "nft table changed"),
        ("", "ip netns delete {prefix}wr-tenant", "namespace gone"),
    ],
)
def test_tampering_is_told(place: Place, router: str, command: str, what: str) -> None:
    plan = wanted(TENANT, EDGE)
    place.path.events_fd()
    assert place.apply(plan).ok
    place.path.observe()
    place.path.events()
    if router:
        place.run(place.router(router), command)
    else:
        subprocess.run(command.format(prefix=place.world.prefix).split(), check=True, timeout=PATIENCE)
    told(place, f"router {router or 'tenant'}: {what}")


def test_what_others_do_with_namespaces_is_no_event_of_ours(place: Place) -> None:
    place.path.events_fd()
    assert place.apply(wanted(TENANT)).ok
    place.path.observe()
    place.path.events()
    other = place.router("other")
    namespace.create(other)
    place.run(other, "ip link add x type veth peer name y; nft add table inet weft")
    namespace.delete(other)
    assert place.path.events() == []


@pytest.mark.parametrize("state", ["up", "down"])
def test_nothing_is_left_and_the_outside_is_given_back(place: Place, state: str) -> None:
    place.run(place.host, f"ip link set eth9 {state}")
    assert place.apply(wanted(TENANT, EDGE)).ok
    assert "eth9" not in place.run(place.host, "ip -o link")
    applied = place.apply(NodePlan("h1"))
    assert [str(error) for _, error in applied.failed] == []
    assert not namespace.exists(place.router("tenant"))
    assert not namespace.exists(place.router("edge"))
    told = place.run(place.host, "ip link show eth9")
    assert "alias mine" in told
    assert (",UP" in told) == (state == "up")
    assert place.left(NodePlan("h1")) == []


def test_a_strangers_namespace_is_refused_and_left_alone(place: Place) -> None:
    namespace.create(place.router("tenant"))
    place.run(place.router("tenant"), "ip link add mine type veth peer name mine2")
    applied = place.apply(wanted(TENANT))
    assert any("is not weft's" in str(error) for _, error in applied.failed)
    place.apply(NodePlan("h1"))
    assert "mine2" in place.run(place.router("tenant"), "ip -o link")


@pytest.mark.parametrize(
    ("prepare", "what"),
    [
        ("ip link del eth9", "eth9 does not exist"),
        ("ip address add 60.1.1.254/24 dev eth9", "would lose it to the router"),
        ("ip link add br9 type bridge; ip link set eth9 master br9", "belongs to a bridge"),
    ],
)
def test_an_outside_that_cannot_be_had_is_told(place: Place, prepare: str, what: str) -> None:
    place.run(place.host, prepare)
    applied = place.apply(wanted(EDGE))
    assert any(what in str(error) for _, error in applied.failed)


def test_many_host_routes_in_one_go(place: Place) -> None:
    plan = wanted(TENANT)
    device = RouterDevice("tenant", "wx5000")
    rows = tables.routes(
        row
        for i in range(20_000)
        for row in (
            (f"20.{1 + i // 65536}.{i // 256 % 256}.{i % 256}", "192.168.33.12"),
            (f"2001:db8::{i:x}", "fd57::1"),
        )
    )
    plan.router_tables[device] = tables.Tables(
        plan.router_tables[device].fdb, plan.router_tables[device].neighbors, routes=rows
    )
    assert place.apply(plan).ok
    assert place.left(plan) == []
    back = wanted(TENANT)
    assert place.apply(back).ok
    assert place.left(back) == []
