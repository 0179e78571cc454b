"""Topologies as text: what a file's underlay, nodes and ports become."""

from __future__ import annotations

import pytest

from weft.lab.topology import describe, plan
from weft.lab.underlay import derived_segments
from weft.model.errors import Kind, WeftError
from weft.model.file import parse


def topology(text: str, lab: str = "t") -> str:
    document = parse({"t.yaml": text})
    return describe(plan(lab, document.lab, document.intent))


FLAT = """
nodes:
  h1: {vtep: 192.168.33.12}
  h2: {vtep: 192.168.33.13}
networks:
  blue: {vni: 5000, subnet: 10.1.1.0/24}
ports:
  a: {network: blue, node: h1, ips: [10.1.1.11], attach: {namespace: web}}
  b: {network: blue, node: h2, ips: [10.1.1.12], attach: {namespace: web}}
  c: {network: blue, node: h2, ips: [10.1.1.13], attach: host}
"""


def test_no_underlay_is_one_flat_lan() -> None:
    assert topology(FLAT) == (
        "fabric weft-t-fabric\n"
        "  lan underlay: br-underlay 192.168.33.0/24 mtu 1500\n"
        "host h1 weft-t-h1\n"
        "  eth1 192.168.33.12/24 mtu 1500 on underlay port h1\n"
        "host h2 weft-t-h2\n"
        "  eth1 192.168.33.13/24 mtu 1500 on underlay port h2\n"
        "container h1.web weft-t-h1.web\n"
        "container h2.web weft-t-h2.web\n"
    )


ROUTED = """
nodes:
  h1: {vtep: 192.168.33.12}
  h2: {vtep: 192.168.34.13}
networks:
  blue: {vni: 10, subnet: 10.1.1.0/24}
lab:
  underlay:
    segments: {left: 192.168.33.0/24, middle: {subnet: 192.168.50.0/29, mtu: 1400}, right: 192.168.34.0/24}
    routers: {r1: [left, middle], r2: [middle, right]}
"""


def test_routers_have_the_last_addresses_and_know_the_way() -> None:
    assert topology(ROUTED) == (
        "fabric weft-t-fabric\n"
        "  lan left: br-left 192.168.33.0/24 mtu 1500\n"
        "  lan middle: br-middle 192.168.50.0/29 mtu 1400\n"
        "  lan right: br-right 192.168.34.0/24 mtu 1500\n"
        "host h1 weft-t-h1\n"
        "  eth1 192.168.33.12/24 mtu 1500 on left port h1\n"
        "  route 0.0.0.0/0 via 192.168.33.254\n"
        "host h2 weft-t-h2\n"
        "  eth1 192.168.34.13/24 mtu 1500 on right port h2\n"
        "  route 0.0.0.0/0 via 192.168.34.254\n"
        "router r1 weft-t-r1\n"
        "  eth1 192.168.33.254/24 mtu 1500 on left port r1.left\n"
        "  eth2 192.168.50.6/29 mtu 1400 on middle port r1.middle\n"
        "  route 192.168.34.0/24 via 192.168.50.5\n"
        "router r2 weft-t-r2\n"
        "  eth1 192.168.50.5/29 mtu 1400 on middle port r2.middle\n"
        "  eth2 192.168.34.254/24 mtu 1500 on right port r2.right\n"
        "  route 192.168.33.0/24 via 192.168.50.6\n"
    )


def test_an_ipv6_underlay() -> None:
    text = ROUTED.replace("192.168.33.12", "2001:db8:33::12").replace("192.168.34.13", "2001:db8:34::13")
    text = text.replace("192.168.33.0/24", "2001:db8:33::/64").replace("192.168.34.0/24", "2001:db8:34::/64")
    text = text.replace("192.168.50.0/29", "2001:db8:50::/64")
    lines = topology(text).splitlines()
    assert "  eth1 2001:db8:33::12/64 mtu 1500 on left port h1" in lines
    assert "  route ::/0 via 2001:db8:33:0:ffff:ffff:ffff:fffe" in lines
    assert "  route 2001:db8:34::/64 via 2001:db8:50:0:ffff:ffff:ffff:fffd" in lines


def test_long_and_equal_device_names_follow_the_law() -> None:
    text = "nodes:\n  a-very-long-host-name-1: {vtep: 192.168.33.12}\n  br-underlay: {vtep: 192.168.33.13}\n"
    text += "networks: {blue: {vni: 1, subnet: 10.1.1.0/24}}\n"
    document = parse({"t.yaml": text})
    planned = plan("t", document.lab, document.intent)
    ports = [link.port for machine in planned.machines for link in machine.links]
    assert ports == ["a-very-lon~e3ee", "br-underla~5e83"]
    assert planned.lans[0].bridge == "br-underlay"


@pytest.mark.parametrize(
    ("vteps", "subnets"),
    [
        (["192.168.33.12", "192.168.33.14"], ["192.168.33.0/24"]),
        (["10.0.0.1", "10.0.3.1"], ["10.0.0.0/22"]),
        (["10.0.0.255", "10.0.0.1"], ["10.0.0.0/23"]),  # a /24 would make the first its broadcast address
        (["2001:db8::1", "2001:db8::2"], ["2001:db8::/64"]),
        (["10.0.0.1", "2001:db8::2"], ["10.0.0.0/24", "2001:db8::/64"]),
    ],
)
def test_derived_segments(vteps: list[str], subnets: list[str]) -> None:
    assert [segment.subnet for segment in derived_segments(vteps)] == subnets


def test_external_hosts_hang_on_a_wire_and_route_through_the_border() -> None:
    text = FLAT + "routers:\n  edge:\n    gateways: {blue: 10.1.1.2}\n    placement: [h1]\n"
    text += "    external: {h1: {interface: eth9, address: 50.1.1.254/24}}\n"
    text += "lab:\n  external: {web: {interface: eth9, node: h1, address: 50.1.1.1/24}}\n"
    lines = topology(text).splitlines()
    assert lines[-3:] == [
        "external web weft-t-web",
        "  route 0.0.0.0/0 via 50.1.1.254",
        "wire h1:eth9 to web:eth0 50.1.1.1/24",
    ]


def test_an_interface_port_gets_a_machine_behind_it() -> None:
    text = FLAT.replace("attach: host", "attach: {interface: eth5}")
    assert topology(text).splitlines()[-2:] == [
        "container h2.eth5 weft-t-h2.eth5",
        "wire h2:eth5 to h2.eth5:eth0 10.1.1.13/24",
    ]


def test_names_and_macs_are_the_same_each_time() -> None:
    document = parse({"t.yaml": FLAT})
    assert plan("t", document.lab, document.intent) == plan("t", document.lab, document.intent)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("192.168.33.12", "192.168.99.12", "no underlay segment holds 192.168.99.12"),
        ("192.168.33.12", "192.168.33.254", "192.168.33.254 is a VTEP's address and the address of underlay router r1"),
        ("right: 192.168.34.0/24", "right: 192.168.32.0/20", "overlaps"),
        ("r2:", "h2:", "the machine name 'h2' is taken"),
        ("r2:", "fabric:", "the machine name 'fabric' is taken"),
    ],
)
def test_what_cannot_be_built_is_refused(old: str, new: str, what: str) -> None:
    with pytest.raises(WeftError) as caught:
        topology(ROUTED.replace(old, new))
    assert caught.value.kind is Kind.INVALID
    assert what in str(caught.value)
