"""Lease keys and values as flannel's own daemon writes and reads them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.model.errors import WeftError
from weft.peering.flannel.lease import BackendData, Lease, decode

VXLAN = (
    b'{"PublicIP":"172.31.99.11","PublicIPv6":null,"BackendType":"vxlan",'
    b'"BackendData":{"VNI":1,"VtepMAC":"ea:2d:9c:b6:60:eb"}}'
)
UDP = b'{"PublicIP":"172.31.99.12","PublicIPv6":null}'
DUAL = (
    b'{"PublicIP":"172.31.99.11","PublicIPv6":"fd00::11","BackendType":"vxlan",'
    b'"BackendData":{"VNI":1,"VtepMAC":"ea:2d:9c:b6:60:eb"},"BackendV6Data":{"VNI":1,"VtepMAC":"12:2d:9c:b6:60:eb"}}'
)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("subnets/10.5.57.0-24", VXLAN),
        ("subnets/10.6.84.0-24", UDP),
        ("subnets/10.5.57.0-24&fc00:0:0:57::-64", DUAL),
    ],
)
def test_a_golden_value_comes_back_to_the_octet(key: str, value: bytes) -> None:
    lease = decode(key, value)
    assert (lease.key, lease.value) == (key, value)


def test_what_a_golden_value_says() -> None:
    assert decode("subnets/10.5.57.0-24", VXLAN, etcd_lease=7, revision=3) == Lease(
        IPv4Network("10.5.57.0/24"),
        None,
        IPv4Address("172.31.99.11"),
        None,
        BackendData("vxlan", '{"VNI":1,"VtepMAC":"ea:2d:9c:b6:60:eb"}'),
        7,
        3,
    )
    dual = decode("subnets/10.5.57.0-24&fc00:0:0:57::-64", DUAL)
    assert dual.subnet6 == IPv6Network("fc00:0:0:57::/64")
    assert dual.public_ip6 == IPv6Address("fd00::11")


def test_names_are_read_in_any_case_and_unknown_ones_passed_over() -> None:
    value = b'{"publicip": "10.0.0.1", "BACKENDTYPE": "vxlan", "backendData": {"a": [1, "x"]}, "Region": "eu"}'
    lease = decode("subnets/10.5.57.0-24", value)
    assert str(lease.public_ip) == "10.0.0.1"
    assert lease.backend == BackendData("vxlan", '{"a":[1,"x"]}')


def test_ipv6_alone() -> None:
    lease = Lease(None, IPv6Network("fc00:0:0:57::/64"), public_ip6=IPv6Address("fd00::11"))
    assert lease.key == "subnets/0.0.0.0-0&fc00:0:0:57::-64"
    assert lease.value == b'{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::11"}'
    assert decode(lease.key, lease.value) == lease


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("subnets/10.5.57.1-24", UDP),
        ("subnets/10.5.57.0-33", UDP),
        ("subnets/0.0.0.0-0", UDP),
        ("subnets/10.5.57.0", UDP),
        ("subnets/..", UDP),
        ("subnets/10.5.57.0-24&fc00::1-64", UDP),
        ("subnets/10.5.57.0-24", b""),
        ("subnets/10.5.57.0-24", b"[]"),
        ("subnets/10.5.57.0-24", b'"x"'),
        ("subnets/10.5.57.0-24", b'{"PublicIP":"fd00::1"}'),
        ("subnets/10.5.57.0-24", b'{"PublicIP":[]}'),
        ("subnets/10.5.57.0-24", b'{"PublicIP":"10.0.0.1","BackendType":1}'),
        ("subnets/10.5.57.0-24", b"\xff\xfe"),
        ("subnets/10.5.57.0-24", b"[" * 100_000),
    ],
)
def test_what_is_no_lease_is_refused_by_name(key: str, value: bytes) -> None:
    with pytest.raises(WeftError, match=r"^lease subnets/.*; it is left out") as raised:
        decode(key, value)
    assert "\n" not in str(raised.value)


@given(st.text(max_size=40), st.binary(max_size=200))
def test_hostile_keys_and_values_are_a_lease_or_an_error(name: str, value: bytes) -> None:
    try:
        lease = decode(f"subnets/{name}", value)
    except WeftError:
        return
    assert decode(lease.key, lease.value) == lease
