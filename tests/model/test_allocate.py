"""What ports are given: the same in any order, kept once given, and never what somebody has."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.model.address import mac_to_int
from weft.model.allocate import assign
from weft.model.errors import Kind, WeftErrors
from weft.model.file import parse
from weft.model.intent import Intent
from weft.model.validate import problems

BASE = """
nodes: {h1: {vtep: 10.0.0.1}}
networks:
  blue: {vni: 1, subnets: [10.1.1.0/28, "2001:db8::/120"]}
  red: {vni: 2, subnet: 10.1.1.0/28}
routers:
  r: {gateways: {blue: [10.1.1.1, "2001:db8::1"]}, routes: [{to: 0.0.0.0/0, via: 10.1.1.3}]}
"""


def intent(ports: dict[str, str], base: str = BASE) -> Intent:
    lines = [f"  {name}: {{node: h1, {more}}}" for name, more in ports.items()]
    return parse({"f": base + "\n".join(["ports:", *lines])}).intent


def test_the_lowest_free_address_of_each_subnet_is_given() -> None:
    done = assign(intent({"b": "network: blue", "a": "network: blue", "x": "network: blue, ips: 10.1.1.4"}), Intent())
    assert done.ports["a"].ips == ("10.1.1.2", "2001:db8::2")  # .1 is the gateway
    assert done.ports["b"].ips == ("10.1.1.5", "2001:db8::3")  # .3 is a next hop, .4 is x
    assert done.ports["x"].ips == ("10.1.1.4",)
    assert (done.ports["a"].assigned, done.ports["x"].assigned) == (("mac", "ips"), ("mac",))


def test_macs_are_unicast_local_and_of_the_name() -> None:
    done = assign(intent({"a": "network: blue", "b": "network: blue", "c": "network: red"}), Intent())
    macs = [port.mac for port in done.ports.values()]
    assert len(set(macs)) == 3
    assert all(mac.startswith("02:") for mac in macs)
    assert assign(intent({"a": "network: blue"}), Intent()).ports["a"].mac == done.ports["a"].mac


def test_a_taken_mac_gives_way_to_the_next() -> None:
    alone = assign(intent({"a": "network: red"}), Intent()).ports["a"].mac
    done = assign(intent({"a": "network: red", "thief": f"network: red, mac: '{alone}'"}), Intent())
    assert mac_to_int(done.ports["a"].mac) - mac_to_int(alone) in {1, 1 - 2**40}


def test_what_was_assigned_is_kept_while_it_fits() -> None:
    before = assign(intent(dict.fromkeys("abc", "network: red")), Intent())
    after = assign(intent({"c": "network: red", "0": "network: red"}), before)
    assert after.ports["c"] == before.ports["c"]
    assert after.ports["0"].ips == ("10.1.1.1",)
    taken = assign(intent({"c": "network: red", "0": f"network: red, ips: {before.ports['c'].ips[0]}"}), before)
    assert taken.ports["c"].ips == ("10.1.1.1",)
    assert taken.ports["c"].mac == before.ports["c"].mac
    moved = assign(intent({"c": "network: red"}, BASE.replace("10.1.1.0/28}", "10.7.0.0/24}")), before)
    assert moved.ports["c"].ips == ("10.7.0.1",)


def test_what_was_declared_is_not_kept_when_it_is_no_longer() -> None:
    before = intent({"a": "network: red, ips: 10.1.1.9"})
    assert assign(intent({"a": "network: red"}), before).ports["a"].ips == ("10.1.1.1",)


def test_a_subnet_without_room_is_one_error() -> None:
    with pytest.raises(WeftErrors) as caught:
        assign(intent({f"p{i:02}": "network: red" for i in range(17)}), Intent())
    assert caught.value.kind is Kind.INVALID
    assert str(caught.value) == (
        "network 'red': 10.1.1.0/28 has no free address for port 'p14' and 2 more; "
        "use a larger subnet, or move ports to another network"
    )


PORTS = st.dictionaries(
    st.sampled_from([f"p{i}" for i in range(12)]),
    st.sampled_from(
        ["network: blue", "network: red", "network: red, ips: 10.1.1.2", "network: blue, mac: 02:00:00:00:00:01"]
    ),
    max_size=10,
)


def unique(ports: dict[str, str]) -> dict[str, str]:
    """At most one port with each thing that only one may have."""
    return {
        name: more if not any(ports[other] == more for other in ports if other < name) else more.split(",")[0]
        for name, more in ports.items()
    }


@settings(max_examples=120, deadline=None)
@given(PORTS, PORTS, st.randoms(use_true_random=False))
def test_the_order_does_not_matter_and_twice_is_once(
    first: dict[str, str], then: dict[str, str], dice: random.Random
) -> None:
    before = assign(intent(unique(first)), Intent())
    wanted = intent(unique(then))
    done = assign(wanted, before)
    shuffled = list(wanted.ports.items())
    dice.shuffle(shuffled)
    assert assign(Intent(wanted.nodes, wanted.networks, wanted.routers, dict(shuffled)), before) == done
    assert assign(done, before) == done
    assert assign(wanted, done) == done
    assert all(port.mac and port.ips for port in done.ports.values())
    assert problems(done) == []
