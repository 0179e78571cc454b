"""Packet patterns and the judges over them, on packets made by hand."""

from __future__ import annotations

import pytest

from weft.lab import judge
from weft.lab.names import Names
from weft.lab.patterns import match
from weft.lab.topology import plan
from weft.model.errors import Kind, WeftError
from weft.model.file import parse
from weft.wire import arp, icmp, icmpv6, nd
from weft.wire.arp import Arp
from weft.wire.ethernet import Ethernet
from weft.wire.icmp import Icmp
from weft.wire.icmpv6 import Icmpv6
from weft.wire.ipv4 import IPv4
from weft.wire.ipv6 import IPv6
from weft.wire.packet import Packet
from weft.wire.udp import Udp
from weft.wire.vxlan import Vxlan

MAC_A, MAC_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
TEXT = f"""
nodes: {{h1: {{vtep: 192.168.33.12}}, h2: {{vtep: 192.168.34.13}}}}
networks: {{blue: {{vni: 5000, subnets: [10.1.1.0/24, "2001:db8::/64"]}}}}
ports:
  a: {{network: blue, node: h1, mac: "{MAC_A}", ips: [10.1.1.11, "2001:db8::11"], attach: {{namespace: a}}}}
  b: {{network: blue, node: h2, mac: "{MAC_B}", ips: [10.1.1.12, "2001:db8::12"], attach: {{namespace: b}}}}
lab: {{underlay: {{segments: {{l: 192.168.33.0/24, r: 192.168.34.0/24}}, routers: {{r1: [l, r]}}}}}}
"""
DOCUMENT = parse({"t.yaml": TEXT})
NAMES = Names(DOCUMENT.intent, plan("t", DOCUMENT.lab, DOCUMENT.intent))
ROUTER_MAC = NAMES.topology.machine("r1").links[0].mac


def tunnelled(inner: Packet, *, back: bool = False, ttl: int = 64, vni: int = 5000) -> Packet:
    source, target = ("192.168.34.13", "192.168.33.12") if back else ("192.168.33.12", "192.168.34.13")
    return Packet(
        ethernet=Ethernet(dst=ROUTER_MAC, src="02:00:00:00:00:01", ethertype=0x0800),
        ip=IPv4(source, target, 17, ttl),
        udp=Udp(45012, 4789),
        vxlan=Vxlan(vni),
        inner=inner,
    )


def frame(source: str = MAC_A, target: str = MAC_B) -> Ethernet:
    return Ethernet(dst=target, src=source, ethertype=0x0800)


ASK = tunnelled(
    Packet(ethernet=frame(target="ff:ff:ff:ff:ff:ff"), arp=arp.request(MAC_A, "10.1.1.11", "10.1.1.12")), ttl=63
)
ANSWER = tunnelled(
    Packet(ethernet=frame(MAC_B, MAC_A), arp=Arp(arp.REPLY, MAC_B, "10.1.1.12", MAC_A, "10.1.1.11")), back=True
)
PING = tunnelled(Packet(ethernet=frame(), ip=IPv4("10.1.1.11", "10.1.1.12", 1, 63), icmp=Icmp(icmp.ECHO_REQUEST, 0, 1)))
PONG = tunnelled(
    Packet(ethernet=frame(MAC_B, MAC_A), ip=IPv4("10.1.1.12", "10.1.1.11", 1), icmp=Icmp(icmp.ECHO_REPLY, 0, 1)),
    back=True,
)
SOLICIT = tunnelled(
    Packet(
        ethernet=frame(),
        ip=IPv6("2001:db8::11", "ff02::1:ff00:12", 58),
        icmpv6=Icmpv6(nd.NEIGHBOR_SOLICITATION, 0),
        nd=nd.NeighborSolicitation(target="2001:db8::12"),
    )
)
TOO_BIG6 = tunnelled(
    Packet(
        ethernet=frame(),
        ip=IPv6("2001:db8::11", "2001:db8::12", 58),
        icmpv6=Icmpv6(icmpv6.PACKET_TOO_BIG, 0, 1280),
    )
)
PLAIN = Packet(ethernet=frame(), ip=IPv4("192.168.33.12", "192.168.34.13", 1, 62), icmp=Icmp(icmp.ECHO_REQUEST, 0, 1))


@pytest.mark.parametrize(
    ("pattern", "packet", "matches"),
    [
        ({"arp": "request"}, ASK, True),
        ({"arp": "reply"}, ASK, False),
        ({"arp": "any"}, ANSWER, True),
        ({"arp": "any"}, PING, False),
        ({"arp": "request", "inner": "a>b", "outer": "h1>h2", "vni": "5000"}, ASK, True),
        ({"inner": "b>a"}, ASK, False),
        ({"outer": "h1>*"}, ASK, True),
        ({"outer": "192.168.33.12>192.168.34.13"}, ASK, True),
        ({"outer": "r1>h2"}, ASK, False),
        ({"vni": "5001"}, ASK, False),
        ({"udp_port": "4789"}, ASK, True),
        ({"udp_port": "8472"}, ASK, False),
        ({"outer_ttl": "63"}, ASK, True),
        ({"ttl": "63"}, PING, True),
        ({"ttl": "63"}, PONG, False),
        ({"src_mac": "port:a", "dst_mac": MAC_B.upper()}, PING, True),
        ({"dst_mac": "port:a"}, PING, False),
        ({"outer_dst_mac": "r1"}, PING, True),
        ({"outer_dst_mac": "node:h2"}, PING, False),
        ({"broadcast": "true"}, ASK, True),
        ({"broadcast": "false"}, PING, True),
        ({"broadcast": "false"}, ASK, False),
        ({"icmp": "echo-request", "inner": "a>10.1.1.12"}, PING, True),
        ({"icmp": "echo-reply"}, PING, False),
        ({"icmp": "any"}, PONG, True),
        ({"icmp": "too-big"}, TOO_BIG6, True),
        ({"icmp": "any"}, SOLICIT, False),
        ({"nd": "solicitation", "inner": "a>b"}, SOLICIT, True),
        ({"nd": "advertisement"}, SOLICIT, False),
        ({"nd": "any"}, SOLICIT, True),
        ({"icmp": "echo-request"}, PLAIN, False),
        ({"icmp": "echo-request", "plain": "true", "outer": "h1>h2", "outer_ttl": "62"}, PLAIN, True),
        ({"plain": "true"}, PING, False),
        ({"tcp": "any"}, PING, False),
    ],
)
def test_match(pattern: dict[str, str], packet: Packet, matches: bool) -> None:
    assert match(pattern, packet, NAMES) is matches


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ({"colour": "blue"}, "unknown key 'colour'"),
        ({"arp": "maybe"}, "'maybe' is no value of 'arp'"),
        ({"vni": "blue"}, "'blue' is no value of 'vni'"),
        ({"outer": "h1"}, "'h1' is no value of 'outer'"),
        ({"outer": "h9>h1"}, "'h9' is no node, underlay router or IP address"),
        ({"src_mac": "port:x"}, "unknown port 'x'"),
        ({"broadcast": "maybe"}, "true or false"),
    ],
)
def test_mistakes_in_patterns_are_named(pattern: dict[str, str], what: str) -> None:
    with pytest.raises(WeftError) as caught:
        match(pattern, ASK, NAMES)
    assert caught.value.kind is Kind.INVALID
    assert what in str(caught.value)


IN_ORDER = [{"arp": "request"}, {"arp": "reply"}, {"icmp": "echo-request"}, {"icmp": "echo-reply"}]


def test_in_order() -> None:
    assert judge.in_order(IN_ORDER, [ASK, SOLICIT, ANSWER, PING, PLAIN, PONG], NAMES) is None


def test_in_order_tells_what_is_missing_and_what_was_there() -> None:
    wrong = judge.in_order(IN_ORDER, [ASK, PING, ANSWER, PONG], NAMES)
    assert wrong is not None
    assert "pattern 3 of 4 was not seen after packet 3: {icmp: echo-request} (packet 2 is one, but too early)" in wrong
    assert "4 192.168.34.13 > 192.168.33.12 udp" in wrong


def test_one_packet_is_not_two() -> None:
    assert judge.in_order([{"arp": "request"}, {"arp": "request"}], [ASK], NAMES) is not None


def test_nothing_seen() -> None:
    assert "nothing was seen at all" in (judge.in_order([{"arp": "any"}], [], NAMES) or "")


def test_never() -> None:
    assert judge.never([{"arp": "any"}, {"nd": "any"}], [PING, PONG, PLAIN], NAMES) is None
    assert "packet 2 must never be seen, by {nd: any}" in (judge.never([{"nd": "any"}], [PING, SOLICIT], NAMES) or "")


def test_only_speaks_of_vxlan_packets() -> None:
    allowed = [{"icmp": "any", "vni": "5000"}]
    assert judge.only(allowed, [PING, PLAIN, PONG], NAMES) is None
    assert "packet 2 matches none" in (judge.only(allowed, [PING, ASK], NAMES) or "")
    assert judge.only([], [ASK], NAMES) is None
