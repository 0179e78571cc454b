"""Networks that take in their own underlay are refused, those beside it are not."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from weft.model.errors import Kind, WeftError
from weft.peering.flannel.backend import External
from weft.peering.flannel.config import parse
from weft.peering.flannel.overlap import refuse_overlap

HOST = External("eth0", 2, 1500, IPv4Address("192.168.136.5"), IPv6Address("fd00:136:0:7::5"))
FOUR, SIX = "192.168.136.5/24", "fd00:136:0:7::5/64"
VXLAN = {"Backend": {"Type": "vxlan"}}


def refusal(fields: dict[str, Any], *addresses: str) -> str:
    """How such a network is refused; "" where it is not."""
    try:
        refuse_overlap(parse(json.dumps(VXLAN | fields).encode()), HOST, addresses or (FOUR, SIX))
    except WeftError as error:
        return f"{error.kind}: {error.what}"
    return ""


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"Network": "192.168.136.0/24"}, "Network 192.168.136.0/24 has subnets in 192.168.136.0/24"),
        ({"Network": "192.168.0.0/16"}, "Network 192.168.0.0/16 has subnets in 192.168.136.0/24"),
        ({"Network": "192.168.136.0/25"}, "Network 192.168.136.0/25 has"),
        ({"Network": "192.168.0.0/16", "SubnetMin": "192.168.100.0", "SubnetMax": "192.168.136.0"}, "Network"),
        (
            {"Network": "10.2.0.0/16", "EnableIPv6": True, "IPv6Network": "fd00:136::/48"},
            "IPv6Network fd00:136::/48 has subnets in fd00:136:0:7::/64",
        ),
    ],
)
def test_a_network_around_its_underlay_is_refused(fields: dict[str, Any], named: str) -> None:
    told = refusal(fields)
    assert told.startswith(f"{Kind.REFUSED}: {named}")
    assert "by which eth0 (" in told


@pytest.mark.parametrize(
    "fields",
    [
        {"Network": "10.2.0.0/16"},
        {"Network": "192.168.0.0/16", "SubnetMax": "192.168.135.0"},
        {"Network": "192.168.0.0/16", "SubnetMin": "192.168.137.0"},
        {"Network": "10.2.0.0/16", "IPv6Network": "fd00:136::/48"},  # not enabled
    ],
)
def test_a_network_beside_it_is_not(fields: dict[str, Any]) -> None:
    assert refusal(fields) == ""


def test_a_network_inside_a_larger_underlay_is_not() -> None:
    assert refusal({"Network": "192.168.0.0/17"}, "192.168.136.5/16") == ""
    assert refusal({"Network": "192.168.0.0/16"}, "192.168.9.9/24") == "", "another address of the device"
