"""What nodes have said of themselves against what is wanted of them, and hostile values from a store."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.model.errors import Kind, WeftErrors
from weft.model.file import check, parse
from weft.model.intent import Intent
from weft.model.network import Arp, FloodMode, Learning, Network
from weft.model.node import DatapathKind, Facts, Node
from weft.model.port import Attach, AttachKind, Port
from weft.model.router import External, Policy, Route, Router
from weft.model.validate import contradictions, problems

FILE = """\
nodes: {h1: {vtep: 10.0.0.1}, h2: {vtep: 10.0.0.2}, h6: {vtep: "2001:db8::6"}}
networks:
  blue: {vni: 1, subnet: 10.1.1.0/24, mtu: 1450}
  six: {vni: 2, subnet: 10.1.1.0/24, mtu: 1431}
ports:
  a: {network: blue, node: h1}
  b: {network: blue, node: h2, attach: {tap: tap0}}
  c: {network: six, node: h6}
"""


def facts(node: str, vtep: str, mtu: int | None = 1500, **missing: str) -> Facts:
    return Facts(
        node=node,
        version="1",
        datapath=DatapathKind.KERNEL,
        interface="eth1",
        underlay_mtu=mtu,
        addresses=("127.0.0.1/8", f"{vtep}/24"),
        missing=missing,
    )


def said(*reports: Facts) -> str:
    document = parse({"f": FILE})
    with pytest.raises(WeftErrors) as caught:
        check(document, facts={report.node: report for report in reports})
    assert caught.value.kind is Kind.REFUSED
    return str(caught.value)


def test_a_node_that_has_not_reported_contradicts_nothing() -> None:
    document = parse({"f": FILE})
    assert contradictions(document.intent, {}) == []
    assert contradictions(document.intent, {"h1": facts("h1", "10.0.0.1")}) == []


def test_a_vtep_that_is_not_on_the_host() -> None:
    assert said(facts("h1", "10.0.0.9")) == (
        "f:1: node 'h1': VTEP 10.0.0.1 is not on the host (it has 10.0.0.9, 127.0.0.1); correct one of the two"
    )


def test_an_mtu_above_what_the_underlay_carries() -> None:
    assert said(facts("h1", "10.0.0.1", 1499), facts("h6", "2001:db8::6")).splitlines() == [
        "f:3: network 'blue': MTU 1450 and VXLAN's 50 octets are more than the 1499 that node 'h1' carries on eth1; "
        "lower it to 1449, or raise the underlay's MTU",
        "f:4: network 'six': MTU 1431 and VXLAN's 70 octets are more than the 1500 that node 'h6' carries on eth1; "
        "lower it to 1430, or raise the underlay's MTU",
    ]


def test_a_missing_feature_counts_where_it_is_needed() -> None:
    lacks = {"vxlan": "load module vxlan", "tun": "load module tun", "openvswitch": "load it", "ipv6": "enable it"}
    assert said(facts("h1", "10.0.0.1", **lacks)) == "f:1: node 'h1': its host lacks vxlan; load module vxlan"
    assert said(facts("h2", "10.0.0.2", **lacks)).splitlines() == [
        "f:1: node 'h2': its host lacks tun; load module tun",
        "f:1: node 'h2': its host lacks vxlan; load module vxlan",
    ]


TEXT = st.one_of(
    st.text(max_size=8), st.sampled_from(["h1", "n", "10.1.1.1", "10.1.1.0/24", "::/0", "fe80::1%eth0", "0"])
)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
WHOLE = st.integers(-1, 2**32)
NETWORK = st.builds(
    Network,
    name=TEXT,
    vni=WHOLE,
    subnets=TEXTS,
    learning=st.sampled_from(Learning),
    flood=st.sampled_from(FloodMode),
    group=st.none() | TEXT,
    arp=st.sampled_from(Arp),
    mtu=st.none() | WHOLE,
    udp_port=WHOLE,
    age=WHOLE,
)
ROUTER = st.builds(
    Router,
    name=TEXT,
    gateways=st.dictionaries(TEXT, TEXTS, max_size=2),
    vni=st.none() | WHOLE,
    placement=TEXTS,
    routes=st.lists(st.builds(Route, to=TEXT, via=TEXTS), max_size=2).map(tuple),
    policies=st.lists(st.builds(Policy, via=TEXTS, source=st.none() | TEXT), max_size=2).map(tuple),
    external=st.lists(st.builds(External, node=TEXT, interface=TEXT, address=TEXT), max_size=2).map(tuple),
)
PORT = st.builds(
    Port,
    name=TEXT,
    network=TEXT,
    node=TEXT,
    attach=st.builds(Attach, kind=st.sampled_from(AttachKind), target=TEXT, interface=TEXT),
    mac=TEXT,
    ips=TEXTS,
)


@pytest.mark.thorough
@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.builds(Node, name=TEXT, vtep=TEXT), max_size=2),
    st.lists(NETWORK, max_size=3),
    st.lists(ROUTER, max_size=2),
    st.lists(PORT, max_size=3),
)
def test_no_value_from_a_store_makes_the_checks_fail(
    nodes: list[Node], networks: list[Network], routers: list[Router], ports: list[Port]
) -> None:
    hostile = Intent(
        {node.name: node for node in nodes},
        {network.name: network for network in networks},
        {router.name: router for router in routers},
        {port.name: port for port in ports},
    )
    assert isinstance(problems(hostile), list)
    assert contradictions(hostile, {node.name: facts(node.name, "10.0.0.1") for node in nodes}) is not None
