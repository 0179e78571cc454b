"""The ARP relay: SCENARIOS 6, 7 and 8 step by step, age, limits under a scan, and any octets at all."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.relay_fabric import AGE, Fabric, host_mac, read, request
from weft.wire import arp
from weft.wire.address import BROADCAST
from weft.wire.arp import Arp
from weft.wire.ethernet import ARP, Ethernet
from weft.wire.relay import HOLD, Gateway, Relay
from weft.wire.relay_facts import Fact, Limits

VM1, VM2, VM4, NOBODY = "10.1.1.11", "10.1.1.13", "10.1.1.12", "10.1.1.99"


@pytest.fixture
def fabric() -> Fabric:
    made = Fabric()
    made.add("gw1", "10.1.1.1/24", hosts=(VM1, VM2))
    made.add("gw2", "10.1.1.1/24", hosts=(VM4,))
    made.add("border", "10.1.1.2/24", distributed=False)
    return made


def facts(fabric: Fabric, node: str) -> dict[str, Fact]:
    return dict(fabric.nodes[node].relay.facts)


def irb(fabric: Fabric, node: str) -> str:
    return fabric.nodes[node].gateway.mac


def test_a_question_and_its_answer_pass_both_gateways_step_by_step(fabric: Fabric) -> None:
    fabric.ask("gw1", VM1, VM4)
    assert fabric.wire == [
        f"gw1>gw2 ask {VM1}>{VM4} gw1 all",
        f"gw1>border ask {VM1}>{VM4} gw1 all",
        f"gw2>gw1 answer {VM4}>{VM1} gw2 one",
    ]
    assert fabric.heard == [f"{VM4} ask {VM1}>{VM4} gw2 all"], "on local ports of the far gateway only"
    assert facts(fabric, "gw1") == {VM1: Fact(host_mac(VM1), f"p{VM1}"), VM4: Fact(irb(fabric, "gw2"), vtep="gw2")}
    assert facts(fabric, "gw2") == {VM1: Fact(irb(fabric, "gw1"), vtep="gw1"), VM4: Fact(host_mac(VM4), f"p{VM4}")}
    assert facts(fabric, "border") == {VM1: Fact(irb(fabric, "gw1"), vtep="gw1")}
    fabric.ask("gw1", VM1, VM4)
    fabric.ask("gw2", VM4, VM1)
    assert len(fabric.wire) == 3, "what is known is not asked for"


def test_an_address_that_nobody_has_is_asked_for_once_and_not_remembered(fabric: Fabric) -> None:
    for _ in range(3):
        fabric.ask("gw1", VM1, NOBODY)
        fabric.seek("gw1", NOBODY)
        fabric.now += HOLD / 4
    assert [line for line in fabric.wire if NOBODY in line] == [
        f"gw1>gw2 ask {VM1}>{NOBODY} gw1 all",
        f"gw1>border ask {VM1}>{NOBODY} gw1 all",
    ]
    assert all(NOBODY not in facts(fabric, name) for name in fabric.nodes)
    fabric.now += HOLD
    fabric.ask("gw1", VM1, NOBODY)
    assert len([line for line in fabric.wire if NOBODY in line]) == 4, "later it may be asked for again"


def test_what_a_router_seeks_is_asked_for_in_the_gateways_name_and_comes_back(fabric: Fabric) -> None:
    fabric.seek("gw1", VM4)
    assert fabric.wire == [
        f"gw1>gw2 ask 10.1.1.1>{VM4} gw1 all",
        f"gw1>border ask 10.1.1.1>{VM4} gw1 all",
        f"gw2>gw1 answer {VM4}>10.1.1.1 gw2 one",
    ]
    assert [line for line in fabric.heard if line.startswith(VM1)] == [f"{VM1} ask 10.1.1.1>{VM4} gw1 all"]
    assert "10.1.1.1" not in facts(fabric, "gw2"), "its own address, too: it knows it by this one"
    assert facts(fabric, "gw1")[VM4] == Fact(irb(fabric, "gw2"), vtep="gw2")
    fabric.seek("gw1", VM2)
    assert facts(fabric, "gw1")[VM2] == Fact(host_mac(VM2), f"p{VM2}"), "local ports are asked as well"


def test_a_border_answers_for_itself_and_asks_the_same_way(fabric: Fabric) -> None:
    fabric.seek("gw1", "10.1.1.2")
    assert fabric.wire[-1] == "border>gw1 answer 10.1.1.2>10.1.1.1 border one"
    assert facts(fabric, "gw1")["10.1.1.2"] == Fact(irb(fabric, "border"), vtep="border")
    assert facts(fabric, "border")["10.1.1.1"] == Fact(irb(fabric, "gw1"), vtep="gw1")
    fabric.wire.clear()
    fabric.seek("border", VM1)
    assert fabric.wire == [
        f"border>gw1 ask 10.1.1.2>{VM1} border all",
        f"border>gw2 ask 10.1.1.2>{VM1} border all",
        f"gw1>border answer {VM1}>10.1.1.2 gw1 one",
    ]
    assert facts(fabric, "border")[VM1] == Fact(irb(fabric, "gw1"), vtep="gw1")


def test_a_host_that_moves_is_told_of_by_its_new_gateway(fabric: Fabric) -> None:
    fabric.ask("gw1", VM1, VM4)
    fabric.ask("gw2", VM4, VM1)
    fabric.nodes["gw2"].hosts.clear()
    fabric.nodes["gw1"].hosts[VM4] = "new"
    fabric.nodes["gw1"].relay.declare([fabric.nodes["gw1"].gateway], {f"p{VM1}", "new"}, {"gw2", "border"})
    fabric.now += 2
    fabric.run("gw1", fabric.nodes["gw1"].relay.expected("new", VM4))
    assert facts(fabric, "gw1")[VM4] == Fact(host_mac(VM4), "new")
    assert fabric.wire[-2:] == [f"gw1>gw2 ask {VM4}>{VM4} gw1 all", f"gw1>border ask {VM4}>{VM4} gw1 all"]
    assert facts(fabric, "gw2")[VM4] == Fact(irb(fabric, "gw1"), vtep="gw1")
    assert not fabric.nodes["gw1"].relay.expected("new", VM4), "it is not asked again"


def test_silent_hosts_are_asked_and_forgotten_and_others_stay(fabric: Fabric) -> None:
    fabric.ask("gw1", VM1, VM4)
    fabric.tick(3 * AGE)
    assert facts(fabric, "gw2").keys() == {VM1, VM4}, "both answer"
    assert facts(fabric, "gw1").keys() == {VM1, VM4, "10.1.1.2"}, "and the border has asked for them"
    fabric.wire.clear()
    fabric.heard.clear()
    del fabric.nodes["gw2"].hosts[VM4]
    fabric.tick(2 * AGE)
    assert facts(fabric, "gw1").keys() == {VM1, "10.1.1.2"}
    assert facts(fabric, "gw2").keys() == {VM1}
    assert VM1 in facts(fabric, "border")
    fabric.tick(AGE)
    assert len(fabric.nodes["gw1"].relay.facts._due) == 2, "no question is left of it"


def test_what_was_left_by_an_earlier_relay_counts_and_is_asked_for_soon(fabric: Fabric) -> None:
    fabric.ask("gw1", VM1, VM4)
    left = {ip: Fact(fact.mac, vtep=fact.vtep) for ip, fact in facts(fabric, "gw1").items()} | {NOBODY: Fact("02::")}
    node = fabric.nodes["gw1"]
    node.relay = Relay(AGE)
    node.relay.declare([node.gateway], set(node.hosts.values()), {"gw2", "border"})
    node.relay.adopt({ip: fact._replace(mac=host_mac(ip)) if ip == NOBODY else fact for ip, fact in left.items()}, 1000)
    assert facts(fabric, "gw1").keys() == {VM1, VM4, NOBODY}
    assert node.relay.facts.taken() == {}, "its rows stand"
    fabric.tick(60)
    assert facts(fabric, "gw1") == {VM1: Fact(host_mac(VM1), f"p{VM1}"), VM4: Fact(irb(fabric, "gw2"), vtep="gw2")}


@pytest.mark.parametrize(
    "frame",
    [
        request(host_mac(VM1), "0.0.0.0", VM4),
        request(host_mac(VM1), "10.1.1.1", VM4),
        request("0a:00:00:00:00:01", VM1, VM4),
        request("03:00:00:00:00:01", VM1, VM4),
        request(host_mac(VM1), "10.9.9.9", VM4),
        request(host_mac(VM1), "10.1.1.255", VM4),
        Ethernet(BROADCAST, host_mac(VM1), ARP).encode(arp.request(host_mac(VM2), VM1, VM4).encode()),
        Ethernet(BROADCAST, host_mac(VM1), 0x0800).encode(arp.request(host_mac(VM1), VM1, VM4).encode()),
    ],
    ids=["probe", "gateway's-ip", "gateway's-mac", "group-mac", "elsewhere", "broadcast-ip", "two-macs", "no-arp"],
)
def test_what_is_not_believed(fabric: Fabric, frame: bytes) -> None:
    assert fabric.nodes["gw1"].relay.from_port(f"p{VM1}", frame, 1000) == []
    assert facts(fabric, "gw1") == {}


def test_frames_of_others_and_through_strange_tunnels_are_left_alone(fabric: Fabric) -> None:
    gw1 = fabric.nodes["gw1"].relay
    mac = irb(fabric, "gw2")
    answer = Arp(arp.REPLY, mac, VM4, irb(fabric, "border"), "10.1.1.2").encode()
    assert gw1.from_tunnel("gw2", Ethernet(irb(fabric, "border"), mac, ARP).encode(answer), 1000) == []
    assert gw1.from_tunnel("192.0.2.1", request(mac, VM4, VM1), 1000) == []
    assert gw1.from_tunnel("gw2", request(irb(fabric, "gw1"), VM4, VM1), 1000) == [], "our own, come back"
    assert facts(fabric, "gw1") == {}


@pytest.mark.thorough
def test_a_scan_of_a_16_is_bounded_and_hinders_nobody() -> None:
    fabric = Fabric()
    fabric.add("gw1", "10.1.0.1/16", hosts=("10.1.1.11", "10.1.1.13"))
    fabric.add("gw2", "10.1.0.1/16", hosts=("10.1.1.12",))
    gw1, gw2 = (fabric.nodes[name].relay for name in ("gw1", "gw2"))
    begun = fabric.now
    question = request(host_mac("10.1.1.11"), "10.1.1.11", "10.1.0.0")
    for number in range(65536):  # 8000 a second
        frame = question[:-2] + number.to_bytes(2, "big")
        fabric.run("gw1", gw1.from_port("p10.1.1.11", frame, fabric.now))
        fabric.now = begun + number / 8000
        if number == 30000:
            fabric.ask("gw1", "10.1.1.13", "10.1.1.12")
            assert gw1.facts.get("10.1.1.12") == Fact("0a:00:00:00:00:02", vtep="gw2"), "another port is not hindered"
        assert len(gw1._asked) <= 100 * (HOLD + 2) + 1
    seconds = fabric.now - begun
    assert len(fabric.wire) <= 100 * (seconds + 2) + 5, "100 questions a second"
    assert gw1.dropped > 60000
    assert len(gw1.facts) == len(gw2.facts) == 3
    fabric.now += HOLD
    gw1.tick(fabric.now)
    gw2.tick(fabric.now)
    assert not gw1._asked
    assert not gw2._asked


@pytest.mark.thorough
def test_a_port_that_claims_all_addresses_gets_its_share() -> None:
    relay = Relay(AGE, Limits(facts=3000, port=100, vtep=2000))
    relay.declare([Gateway("r/n", "0a:00:00:00:00:01", ("10.1.0.1/16",), True)], {"bad", "good"}, {"v1"})
    for number in range(5000):
        ip, now = f"10.1.{2 + number // 250}.{1 + number % 250}", 1000 + number / 900
        relay.from_port("bad", request("02:00:00:00:00:66", ip, ip), now)
        relay.from_tunnel("v1", request("0a:00:00:00:00:02", ip, ip), now)
    assert len(relay.facts) <= 2100
    relay.from_port("good", request(host_mac("10.1.1.13"), "10.1.1.13", "10.1.1.13"), 2000)
    assert relay.facts.get("10.1.1.13") == Fact(host_mac("10.1.1.13"), "good")
    for round_ in range(200):  # forgotten and learned again: no heap grows of it
        relay.facts.forget("10.1.1.13")
        relay.from_port("good", request(host_mac("10.1.1.13"), "10.1.1.13", "10.1.1.13"), 2001 + round_)
    assert len(relay.facts._due) <= 2 * len(relay.facts) + 1024


IPS = st.sampled_from([VM1, VM2, VM4, NOBODY, "10.1.1.1", "10.1.1.2", "0.0.0.0", "10.9.9.9", "255.255.255.255"])
MACS = st.sampled_from(
    [host_mac(VM1), host_mac(VM4), BROADCAST, "0a:00:00:00:00:01", "0a:00:00:00:00:02", "00:00:00:00:00:00"]
)
SAID = st.builds(
    lambda dst, src, operation, mac, ip, target, to, cut: Ethernet(dst, src, ARP).encode(
        Arp(operation, mac, ip, target, to).encode()
    )[: cut or None],
    *(MACS, MACS, st.integers(0, 3), MACS, IPS, MACS, IPS, st.one_of(st.just(0), st.integers(1, 42))),
)
FRAMES = st.one_of(SAID, st.binary(max_size=80))
STEPS = st.lists(
    st.tuples(st.sampled_from(["port", "irb", "tunnel", "sought", "tick"]), FRAMES, IPS, st.floats(0, 400)), max_size=40
)


@pytest.mark.thorough
@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_is_said_it_holds(steps: list[tuple[str, bytes, str, float]]) -> None:
    relay = Relay(AGE)
    gateways = [
        Gateway("t/n", "0a:00:00:00:00:01", ("10.1.1.1/24",), True),
        Gateway("e/n", "0a:00:00:00:00:03", ("10.1.1.2/24",), False),
    ]
    relay.declare(gateways, {"a"}, {"v2"})
    now = 0.0
    for kind, frame, ip, passed in steps:
        now += passed
        sends = {
            "port": lambda: relay.from_port("a", frame, now),  # noqa: B023
            "irb": lambda: relay.from_port("e/n", frame, now),  # noqa: B023
            "tunnel": lambda: relay.from_tunnel("v2", frame, now),  # noqa: B023
            "sought": lambda: relay.sought("t/n", ip, now),  # noqa: B023
            "tick": lambda: relay.tick(now),  # noqa: B023
        }[kind]()
        for send in sends:
            header, said = read(send.frame)
            assert header.src == said.sender_mac in ("0a:00:00:00:00:01", "0a:00:00:00:00:03")
            assert not (kind == "tunnel" and send.tunnels and header.dst == BROADCAST), "split horizon"
        assert relay.deadline is None or relay.deadline < sys.float_info.max
        for known, fact in relay.facts:
            assert known.startswith("10.1.1.")
            assert known not in ("10.1.1.1", "10.1.1.2")
            assert bool(fact.port) != bool(fact.vtep)
