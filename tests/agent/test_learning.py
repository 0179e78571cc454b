"""What sightings come to: one place for each MAC, on every node the same, whatever the order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.agent.learning_fleet import BLUE, KEY, MAC, OTHER, Fleet, fleet_intent
from tests.fleet import port
from weft.agent.limits import Limits
from weft.compile.endpoints import Location
from weft.compile.node import compile_node
from weft.compile.rows import touch

nodes = st.sampled_from(["h1", "h2", "h3"])
macs = st.sampled_from([MAC, OTHER])
ips = st.sampled_from([None, "10.1.1.50", "10.1.1.51"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("see"), nodes, macs, ips),
        st.tuples(st.just("write"), nodes),
        st.tuples(st.just("hear"), nodes, st.integers(1, 3)),
        st.tuples(st.just("gone"), nodes, macs),
        st.tuples(st.just("restart"), nodes),
    ),
    max_size=40,
)


def follow(fleet: Fleet, history: list[Any]) -> None:
    for what, node, *rest in history:
        if what == "see":
            fleet.see(node, *rest)
        elif what == "gone":
            fleet.see(node, rest[0], gone=True)
        elif what == "restart":
            fleet.nodes[node] = fleet.start(node)
        else:
            getattr(fleet, what)(node, *rest)


RESTARTED_BEFORE_IT_HEARD = [
    ("see", "h1", MAC, "10.1.1.50"),
    ("write", "h1"),
    ("see", "h2", OTHER, "10.1.1.50"),
    ("write", "h2"),
    ("restart", "h2"),
]


@pytest.mark.thorough
@pytest.mark.system
@settings(max_examples=400)
@given(steps)
@example(RESTARTED_BEFORE_IT_HEARD)
def test_any_order_of_sightings_ends_in_one_place_everywhere(history: list[Any]) -> None:
    fleet = Fleet()
    follow(fleet, history)
    fleet.settle()
    for mac in (MAC, OTHER):
        assert len(fleet.places(mac)) == 1
        found, records = fleet.places(mac).pop(), fleet.records(mac)
        assert len(records) <= 1, "the older place is withdrawn"
        if found is not None:
            assert (found.node, found.mac) == (records[0].node, mac)
    for ip in ("10.1.1.50", "10.1.1.51"):
        assert len(fleet.owners(ip)) == 1
        holders = [mac for mac in (MAC, OTHER) for record in fleet.records(mac) if ip in record.ips]
        assert len(holders) <= 1, "an address is one host's"


@pytest.mark.thorough
@settings(max_examples=300)
@given(steps, st.lists(st.integers(1, 6), max_size=5))
def test_touching_rows_comes_to_the_same_as_compiling_anew(history: list[Any], cuts: list[int]) -> None:
    fleet = Fleet(fleet_intent(port("m", "blue", "h2", 9, mobile=True)))
    here = fleet.nodes["h1"].feed
    here.taken()
    plan = compile_node(here.world, "h1")
    position = 0
    for cut in [*cuts, len(history)]:
        follow(fleet, [step for step in history[position : position + cut] if step[0] != "restart"])
        position += cut
        for key, (changed, addresses) in here.taken_moves().items():
            assert key == KEY
            before = plan
            plan, operations = touch(plan, here.world, BLUE, changed, addresses)
            assert (plan == before) == (not operations)
        assert plan == compile_node(here.world, "h1")


def test_a_host_is_learned_everywhere_from_one_frame() -> None:
    fleet = Fleet()
    fleet.see("h1", ip="10.1.1.50")
    assert fleet.nodes["h1"].machine.record(KEY, MAC) is not None
    fleet.settle()
    assert fleet.places() == {Location(MAC, "h1", ("10.1.1.50",))}
    before = len(fleet.log)
    fleet.see("h1", ip="10.1.1.50")
    fleet.settle()
    assert len(fleet.log) == before, "what is known is no news"


def test_a_move_raises_the_sequence_and_the_old_place_withdraws() -> None:
    fleet = Fleet()
    fleet.see("h1", ip="10.1.1.50")
    fleet.settle()
    fleet.see("h2", ip="10.1.1.50")
    fleet.settle()
    (record,) = fleet.records()
    assert (record.node, record.sequence, record.ips) == ("h2", 1, ("10.1.1.50",))
    assert fleet.places() == {Location(MAC, "h2", ("10.1.1.50",))}


def test_a_bridge_that_still_remembers_a_mac_is_no_move_back() -> None:
    fleet = Fleet()
    fleet.see("h1")
    fleet.settle()
    fleet.see("h2")
    fleet.settle()
    fleet.see("h1", fresh=False)
    fleet.settle()
    assert [(record.node, record.sequence) for record in fleet.records()] == [("h2", 1)]
    fleet.see("h1", OTHER, fresh=False)
    fleet.settle()
    assert [record.node for record in fleet.records(OTHER)] == ["h1"]


def test_two_claims_at_once_are_decided_alike() -> None:
    fleet = Fleet()
    fleet.see("h2")
    fleet.see("h1")
    fleet.settle()
    assert [record.node for record in fleet.records()] == ["h1"]


def test_five_moves_freeze_a_mac_and_time_lets_it_go() -> None:
    fleet = Fleet()
    for turn in range(8):
        fleet.see("h1" if turn % 2 else "h2")
        fleet.settle()
        fleet.now += 1
    (record,) = fleet.records()
    assert (record.frozen, record.sequence, record.node) == (True, 5, "h1")
    assert "frozen here after 5 moves in 180 s" in fleet.notes("h1")
    assert "frozen on h1" in fleet.notes("h2")
    fleet.wait(601, answering=True)
    fleet.see("h1")
    fleet.settle()
    assert not any(record.frozen for record in fleet.records())
    fleet.see("h2")
    fleet.settle()
    assert [record.node for record in fleet.records()] == ["h2"]


def test_slow_moves_freeze_nothing() -> None:
    fleet = Fleet()
    for turn in range(12):
        fleet.see("h1" if turn % 2 else "h2")
        fleet.settle()
        fleet.now += 50
    assert not fleet.records()[0].frozen


def test_two_hosts_with_one_address_are_reported_and_one_keeps_it() -> None:
    fleet = Fleet()
    for _ in range(5):
        fleet.see("h1", MAC, "10.1.1.50")
        fleet.settle()
        fleet.see("h2", OTHER, "10.1.1.50")
        fleet.settle()
    assert "10.1.1.50 is a duplicate" in fleet.notes("h1") + fleet.notes("h2")
    before = len(fleet.log)
    fleet.see("h1", MAC, "10.1.1.50")
    fleet.see("h2", OTHER, "10.1.1.50")
    fleet.settle()
    assert len(fleet.log) == before
    assert len(fleet.owners("10.1.1.50")) == 1


def test_an_address_moves_to_another_mac() -> None:
    fleet = Fleet()
    fleet.see("h1", MAC, "10.1.1.50")
    fleet.settle()
    fleet.see("h2", OTHER, "10.1.1.50")
    fleet.settle()
    assert fleet.owners("10.1.1.50") == {OTHER}
    assert fleet.records(MAC)[0].ips == ()


def test_a_declaration_beats_a_sighting_elsewhere_and_says_so() -> None:
    fleet = Fleet(fleet_intent(port("vm", "blue", "h2", 9)))
    fleet.see("h1", "02:00:00:00:00:09", "10.1.1.9")
    fleet.settle()
    assert fleet.log == []
    assert "port vm on h2 declares it" in fleet.notes("h1")
    assert fleet.nodes["h1"].machine.contested == {KEY}
    assert {place.node for place in fleet.places("02:00:00:00:00:09") if place} == {"h2"}


def test_a_mobile_port_is_where_it_was_last_seen() -> None:
    fleet = Fleet(fleet_intent(port("vm", "blue", "h2", 9, mobile=True)))
    mac = "02:00:00:00:00:09"
    fleet.see("h1", mac, "10.1.1.9")
    fleet.settle()
    assert fleet.places(mac) == {Location(mac, "h1", ("10.1.1.9",))}
    fleet.see("h2", mac, "10.1.1.9", port="vm")
    fleet.settle()
    assert {place.node for place in fleet.places(mac) if place} == {"h2"}
    assert [record.node for record in fleet.records(mac)] == ["h2"]


def test_what_the_declaration_says_is_no_news() -> None:
    fleet = Fleet(fleet_intent(port("vm", "blue", "h1", 9)))
    fleet.see("h1", "02:00:00:00:00:09", "10.1.1.9", port="vm")
    fleet.see("h1", "02:00:00:00:00:09", port="vm")
    fleet.settle()
    assert (fleet.log, fleet.notes("h1")) == ([], "")


def test_a_second_address_behind_a_declared_port_is_learned() -> None:
    fleet = Fleet(fleet_intent(port("vm", "blue", "h1", 9)))
    fleet.see("h1", "02:00:00:00:00:09", "10.1.1.60", port="vm")
    fleet.settle()
    assert fleet.places("02:00:00:00:00:09") == {Location("02:00:00:00:00:09", "h1", ("10.1.1.9", "10.1.1.60"))}


@pytest.mark.parametrize("ip", ["10.1.2.1", "10.1.1.0", "10.1.1.255", "10.1.1.9", "192.0.2.1", "2001:db8::1"])
def test_an_implausible_address_is_not_learned_and_is_told(ip: str) -> None:
    fleet = Fleet(fleet_intent(port("vm", "blue", "h2", 9)))
    fleet.see("h1", MAC, ip)
    fleet.settle()
    assert fleet.places() == {Location(MAC, "h1", ())}
    assert f"uses {ip}" in fleet.notes("h1")


@pytest.mark.parametrize("mac", ["00:00:00:00:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff"])
def test_no_host_has_such_a_mac(mac: str) -> None:
    fleet = Fleet()
    fleet.see("h1", mac)
    fleet.settle()
    assert fleet.log == []
    assert mac in fleet.notes("h1")


def test_a_link_local_address_is_nothing() -> None:
    fleet = Fleet()
    fleet.see("h1", MAC, "fe80::1")
    fleet.settle()
    assert fleet.places() == {Location(MAC, "h1", ())}
    assert fleet.notes("h1") == ""


def test_a_scan_fills_one_ports_room_and_no_more() -> None:
    fleet = Fleet(limits=Limits(hosts=10))
    for number in range(200):
        fleet.see("h1", f"02:bb:00:00:00:{number:02x}")
    fleet.see("h2", MAC)
    fleet.settle()
    assert len(fleet.log) == 11
    assert "more than 10 hosts" in fleet.notes("h1")


def test_a_host_with_many_addresses_and_a_hasty_port_are_bounded() -> None:
    fleet = Fleet(limits=Limits(ips=4, burst=20, changes=1))
    for number in range(1, 100):
        fleet.see("h1", MAC, f"10.1.1.{number}")
    fleet.settle()
    assert len(fleet.records()[0].ips) == 4
    assert "more than 4 addresses" in fleet.notes("h1")
    assert len(fleet.log) <= 20
    assert "changes a second" in fleet.notes("h1")


def test_a_silent_host_is_asked_three_times_and_forgotten() -> None:
    fleet = Fleet()
    fleet.see("h1", ip="10.1.1.50")
    fleet.settle()
    fleet.wait(299)
    assert fleet.nodes["h1"].probes == []
    fleet.wait(10)
    assert [(probe.mac, probe.ip, probe.port) for probe in fleet.nodes["h1"].probes] == [(MAC, "10.1.1.50", "t1")] * 3
    assert (fleet.places(), fleet.stored) == ({None}, {})


def test_a_host_that_answers_stays() -> None:
    fleet = Fleet()
    fleet.see("h1", ip="10.1.1.50")
    fleet.settle()
    before = len(fleet.log)
    fleet.wait(1000, answering=True)
    assert fleet.places() == {Location(MAC, "h1", ("10.1.1.50",))}
    assert len(fleet.log) == before


def test_an_address_that_a_host_gave_up_goes_alone() -> None:
    fleet = Fleet()
    fleet.see("h1", ip="10.1.1.50")
    fleet.wait(200)
    fleet.see("h1", ip="10.1.1.51")
    fleet.wait(110)
    assert fleet.places() == {Location(MAC, "h1", ("10.1.1.51",))}


def test_a_mac_that_the_bridge_has_forgotten_is_asked_at_once() -> None:
    fleet = Fleet()
    fleet.see("h1", MAC, "10.1.1.50")
    fleet.see("h1", OTHER)
    fleet.settle()
    fleet.see("h1", MAC, gone=True)
    fleet.see("h1", OTHER, gone=True)
    fleet.wait(5)
    assert len(fleet.nodes["h1"].probes) == 3
    assert fleet.stored == {}


def test_a_restart_takes_over_what_was_written_and_asks() -> None:
    fleet = Fleet()
    fleet.see("h1", ip="10.1.1.50")
    fleet.settle()
    before = len(fleet.log)
    fleet.nodes["h1"] = fleet.start("h1")
    fleet.wait(2, answering=True)
    assert len(fleet.nodes["h1"].probes) == 1
    assert len(fleet.log) == before
    assert fleet.places() == {Location(MAC, "h1", ("10.1.1.50",))}


def test_what_moved_while_its_node_was_away_is_taken_back() -> None:
    fleet = Fleet()
    fleet.see("h1")
    fleet.settle()
    fleet.see("h2")
    fleet.write("h2")
    fleet.nodes["h1"] = fleet.start("h1")
    fleet.settle()
    assert [record.node for record in fleet.records()] == ["h2"]


def test_a_port_that_goes_takes_its_hosts_along() -> None:
    fleet = Fleet()
    fleet.see("h1")
    fleet.settle()
    fleet.nodes["h1"].feed.world.put_port("blue", "t1", None)
    fleet.nodes["h1"].machine.declared(fleet.now)
    fleet.settle()
    assert fleet.stored == {}
