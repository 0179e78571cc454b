"""The name law."""

from __future__ import annotations

import pytest

from weft.l2 import names
from weft.l2.names import Alias, DeviceKind, parse_alias
from weft.model.network import SegmentKey
from weft.model.validate.problem import device_problem


@pytest.mark.parametrize(
    ("key", "bridge", "vxlan"),
    [
        (SegmentKey(4789, 5000), "wb5000", "wx5000"),
        (SegmentKey(8472, 1), "wb1.2118", "wx1.2118"),
        (SegmentKey(65535, 2**24 - 1), "wb16777215.ffff", "wx16777215.ffff"),
    ],
)
def test_a_segment_names_its_devices_and_they_it(key: SegmentKey, bridge: str, vxlan: str) -> None:
    assert (names.bridge(key), names.vxlan(key)) == (bridge, vxlan)
    assert names.key_of(bridge) == names.key_of(vxlan) == key
    assert len(vxlan) <= 15
    for own in (bridge, vxlan, names.veth("default", "a"), names.veth("default", "a-name-too-long")):
        assert device_problem((), "port 'a'", own), "a file may not give it to another device"


@pytest.mark.parametrize(
    "name", ["wb", "wb0", "wb05", "wb5000.12b5", "wb5000.02", "wb16777216", "wp-a", "eth0", "wb1.2118x"]
)
def test_other_names_stand_for_nothing(name: str) -> None:
    assert names.key_of(name) is None


def test_a_port_keeps_its_name_where_it_fits_and_is_clean() -> None:
    assert names.veth("default", "a") == "wp-a"
    assert names.veth("default", "vm.eth-1_x") == "wp-vm.eth-1_x"
    for name in ("a-name-too-long", "no blanks", "a/b", ".."):
        short = names.veth("default", name)
        assert short.startswith("wp~")
        assert len(short) == 15
        assert short == names.veth("default", name)
        assert short != names.veth("other", name)


def test_an_alias_comes_back_whatever_the_names() -> None:
    alias = Alias("default", DeviceKind.PORT, "a b/c%", {"target": "x y=z", "ips": "10.1.1.1/24,fd01::1/64", "was": ""})
    assert parse_alias(str(alias), "default") == alias
    assert parse_alias(str(alias), "other") is None


@pytest.mark.parametrize("text", ["", "weft:", "weft:default", "weft:default/thing/a", "mine", "weft:default/port/a b"])
def test_what_is_no_alias_of_ours_is_none(text: str) -> None:
    assert parse_alias(text, "default") is None


def test_an_alias_leaves_out_what_does_not_fit() -> None:
    text = str(Alias("default", DeviceKind.PORT, "a", {"target": "b", "ips": ",".join(["fd01::1/64"] * 40)}))
    assert text == "weft:default/port/a target=b"
