"""The network configuration as flannel reads it: golden texts, defaults, limits, and each mistake by its line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from weft.model.errors import WeftError
from weft.peering.flannel.config import UDP_PORT, VXLAN_PORT, parse


def text(**fields: Any) -> bytes:
    return json.dumps({"Network": "10.2.0.0/16", **fields}).encode()


def test_the_scenario() -> None:
    config = parse(
        b'{"Network":"10.2.0.0/16","SubnetLen":24,"SubnetMin":"10.2.1.0","SubnetMax":"10.2.20.0",'
        b'"Backend":{"Type":"vxlan"}}'
    )
    assert config.four is not None
    assert [str(part) for part in (config.four.network, config.four.first, config.four.last)] == [
        "10.2.0.0/16",
        "10.2.1.0",
        "10.2.20.0",
    ]
    assert (config.four.length, config.six, config.backend) == (24, None, "vxlan")
    assert config.number("Port", VXLAN_PORT, 65535) == 8472


@pytest.mark.parametrize(
    ("network", "length", "first", "last"),
    [
        ("10.0.0.0/8", 24, "10.0.1.0", "10.255.255.0"),
        ("10.2.0.0/16", 24, "10.2.1.0", "10.2.255.0"),
        ("10.2.9.7/16", 24, "10.2.1.0", "10.2.255.0"),
        ("10.2.0.0/22", 24, "10.2.1.0", "10.2.3.0"),
        ("10.2.0.0/23", 25, "10.2.0.128", "10.2.1.128"),
        ("10.2.0.0/28", 30, "10.2.0.4", "10.2.0.12"),
    ],
)
def test_defaults_of_ipv4(network: str, length: int, first: str, last: str) -> None:
    four = parse(text(Network=network)).four
    assert four is not None
    assert (four.length, str(four.first), str(four.last)) == (length, first, last)


@pytest.mark.parametrize(
    ("network", "length", "first", "last"),
    [
        ("fc00::/48", 64, "fc00:0:0:1::", "fc00:0:0:ffff::"),
        ("fc00::/63", 65, "fc00::8000:0:0:0", "fc00:0:0:1:8000::"),
        ("fc00::/124", 126, "fc00::4", "fc00::c"),
    ],
)
def test_defaults_of_ipv6(network: str, length: int, first: str, last: str) -> None:
    config = parse(text(EnableIPv6=True, IPv6Network=network))
    assert config.six is not None
    assert config.four is not None
    assert (config.six.length, str(config.six.first), str(config.six.last)) == (length, first, last)


def test_ipv6_alone() -> None:
    config = parse(
        b'{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fc00::/48", "Backend": {"Type": "vxlan"}}'
    )
    assert config.four is None
    assert config.six is not None


def test_names_and_types_are_read_in_any_case() -> None:
    config = parse(b'{"NETWORK":"10.2.0.0/16","subnetlen":25,"BACKEND":{"TYPE":"UDP","pOrT":7000}}')
    assert config.four is not None
    assert (config.four.length, config.backend, config.number("Port", UDP_PORT, 65535)) == (25, "udp", 7000)


def test_without_a_backend_it_is_udp() -> None:
    config = parse(text())
    assert (config.backend, config.number("Port", UDP_PORT, 65535)) == ("udp", 8285)


def test_zero_and_null_stand_for_the_default() -> None:
    fields = {"SubnetLen": 0, "SubnetMin": "0.0.0.0", "SubnetMax": None}
    assert parse(text(**fields)).four == parse(text()).four
    assert parse(text(Backend={"Type": "vxlan", "Port": 0})).number("Port", VXLAN_PORT, 65535) == 8472


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"Network": None}, "it has no Network; add"),
        ({"Network": "10.2.0.0"}, "Network '10.2.0.0' is no network; use one such as 10.2.0.0/16"),
        ({"Network": "fc00::/48"}, "Network 'fc00::/48' is no network"),
        ({"Network": "10.2.0.0/29"}, "Network 10.2.0.0/29 is too small; use a prefix length of at most 28"),
        ({"SubnetLen": 31}, "SubnetLen 31 leaves a node no room; use at most 30"),
        ({"SubnetLen": 17}, "Network 10.2.0.0/16 has no room for four subnets of length 17; use a SubnetLen of at lea"),
        ({"SubnetLen": "24"}, "SubnetLen is '24'; use a prefix length"),
        ({"SubnetLen": True}, "SubnetLen is True"),
        ({"SubnetMin": "10.3.0.0"}, "SubnetMin 10.3.0.0 is not in 10.2.0.0/16"),
        ({"SubnetMax": "10.1.0.0"}, "SubnetMax 10.1.0.0 is not in 10.2.0.0/16"),
        ({"SubnetMin": "10.2.1.1"}, "SubnetMin 10.2.1.1 begins no subnet of length 24"),
        ({"SubnetMin": "x"}, "SubnetMin 'x' is no address of 10.2.0.0/16"),
        ({"SubnetMin": "10.2.9.0", "SubnetMax": "10.2.5.0"}, "SubnetMin 10.2.9.0 is above SubnetMax 10.2.5.0"),
        ({"EnableIPv6": True}, "it has no IPv6Network; add"),
        ({"EnableIPv6": True, "IPv6Network": "fc00::/125"}, "IPv6Network fc00::/125 is too small"),
        ({"EnableIPv6": True, "IPv6Network": "fc00::/48", "IPv6SubnetLen": 127}, "IPv6SubnetLen 127 leaves"),
        ({"EnableIPv6": "yes"}, "EnableIPv6 is 'yes'; use true or false"),
        ({"EnableIPv4": False}, "neither IPv4 nor IPv6 is enabled"),
        ({"Backend": {"Type": "host-gw"}}, "backend type 'host-gw' is none that weft speaks; use vxlan or udp"),
        ({"Backend": {}}, "Backend has no Type"),
        ({"Backend": None}, "Backend is no JSON object"),
        ({"Backend": {"Type": "vxlan", "VNI": -5}}, "the backend's VNI is -5; use a number from 1 to 16777215"),
        ({"Backend": {"Type": "vxlan", "GBP": "yes"}}, "the backend's GBP is 'yes'; use true or false"),
        ({"Backend": {"Type": "udp", "Port": 99999}}, "the backend's Port is 99999; use a number from 1 to 65535"),
        ({"Backend": "vxlan"}, "Backend is no JSON object"),
        (
            {"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fc00::/48", "Backend": {"Type": "udp"}},
            "the udp backend carries IPv4 only",
        ),
    ],
)
def test_each_mistake_says_what_to_do(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(WeftError) as raised:
        parse(text(**fields))
    said = str(raised.value)
    assert said.startswith(f"flannel's network configuration: {line}")
    assert "; " in said
    assert "\n" not in said


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(WeftError, match="it is no JSON object"):
        parse(raw)


@pytest.mark.parametrize("port", [65536, -1, "8472", True, 1.5])
def test_an_option_out_of_range_is_refused(port: object) -> None:
    with pytest.raises(WeftError, match="the backend's Port is"):
        parse(text(Backend={"Type": "vxlan", "Port": port})).number("Port", VXLAN_PORT, 65535)
