"""Whole labs, agents included: the overlay works, steps and mutations are judged, `down` ends everything."""

from __future__ import annotations

import pytest

from weft.l2.user import process as forwarders
from weft.lab import fleet, lab, process, state
from weft.model.errors import WeftError
from weft.model.file import parse
from weft.model.intent import Intent
from weft.model.port import Attach, AttachKind, Port
from weft.netlink import namespace

pytestmark = pytest.mark.system

TEXT = """
nodes:
  h1: {vtep: 192.168.33.12}
  h2: {vtep: 192.168.33.13}
networks:
  blue: {vni: 5000, subnet: 10.1.1.0/24}
  green: {vni: 6000, subnet: 10.1.1.0/24, learning: data-plane}
ports:
  a: {network: blue, node: h1, ips: [10.1.1.11], attach: {namespace: blue}}
  b: {network: blue, node: h2, ips: [10.1.1.12], attach: {namespace: blue}}
  c: {network: green, node: h1, ips: [10.1.1.11], attach: {namespace: green}}
  d: {network: green, node: h2, ips: [10.1.1.12], attach: {namespace: green}}
expect:
  - ping: {from: a, to: b}
  - ping: {from: a, to: 10.1.1.99}
    not: true
  - ping: {from: a, to: b, size: 1450, df: true}
  - ping: {from: a, to: b, size: 1451, df: true}
    not: true
  - tcp: {from: c, to: d, bytes: 3MB}
  - tables: {node: h1, fdb: [{network: blue, mac: port:b, vtep: h2}]}
  - packets:
      on: underlay
      during: {ping: {from: a, to: b}}
      in order: [{icmp: echo-request, outer: h1>h2, inner: a>b, vni: 5000}, {icmp: echo-reply, outer: h2>h1}]
      never: [{arp: any}, {vni: 6000}]
      only: [{vni: 5000, icmp: any}]
mutations:
  deaf: {h1: ip link set eth1 down}
  unbroken: {h1: "true"}
"""
EXPECT = """
expect:
  - {ping: {from: a, to: 10.1.1.77}, within: 60}
"""
DOCUMENT = parse({"t.yaml": TEXT})


def test_every_step_of_the_file_is_good_and_nothing_is_left(name: str) -> None:
    tested = lab.test(DOCUMENT, name=name)
    assert [verdict.detail for verdict in tested.verdicts if not verdict.ok] == []
    assert len(tested.verdicts) == 7
    assert tested.good
    assert not [each for each in namespace.names() if each.startswith(f"weft-{name}-")]
    assert state.every() == []


def test_a_mutation_is_noticed(name: str) -> None:
    tested = lab.test(DOCUMENT, name=name, mutation="deaf")
    assert tested.good
    assert not tested.verdicts[-1].ok


def test_a_mutation_that_breaks_nothing_is_not_good(name: str) -> None:
    tested = lab.test(DOCUMENT, name=name, mutation="unbroken")
    assert all(verdict.ok for verdict in tested.verdicts), "tables are read without an agent too"
    assert not tested.good


def test_an_unknown_mutation(name: str) -> None:
    with pytest.raises(WeftError, match="no mutation 'x'; it has: deaf, unbroken"):
        lab.test(DOCUMENT, name=name, mutation="x")


def test_agents_end_with_the_lab_and_a_dead_one_is_told(name: str) -> None:
    place = lab.up(DOCUMENT, name, processes=2)
    found = [process.read(path) for path in place.agent_pids()]
    assert len(found) == 2
    assert lab.listing()[0].status == "up"
    assert found[0]
    process.stop([found[0]])
    assert lab.listing()[0].status == "broken"
    lab.down(name)
    assert not any(one and process.alive(one) for one in found)


def test_killed_forwarders_leave_no_directory(name: str) -> None:
    lab.up(parse({"t.yaml": TEXT.replace("}\nnetworks", ", datapath: user}\nnetworks")}), name)
    directory = forwarders.run_directory(name, lab.names_of(name).netns("h2"))
    assert (directory / "pid").exists()
    lab.down(name)
    assert not directory.exists()


def test_what_no_agent_can_build_fails_the_up_with_node_and_reason(name: str) -> None:
    text = TEXT.replace("blue: {vni: 5000,", "blue: {vni: 5000, mtu: 1500,")
    with pytest.raises(WeftError, match="h1") as caught:
        lab.up(parse({"t.yaml": text}), name, timeout=4)
    assert "not in sync" in str(caught.value)
    assert state.every() == []


def test_a_port_in_a_new_container_gets_its_namespace(name: str) -> None:
    place = lab.up(DOCUMENT, name)
    intent = place.record().intent
    attach = Attach(kind=AttachKind.NAMESPACE, target="late")
    late = Port(name="late", network="blue", node="h2", ips=("10.1.1.77",), mac="02:00:00:00:00:77", attach=attach)
    fleet.store(place, Intent(intent.nodes, intent.networks, {}, intent.ports | {"late": late}))
    fleet.wait(place, ["h1", "h2"], 60, lambda ready, of, why: None)
    names = lab.names_of(name)
    assert names.netns("late") == f"weft-{name}-h2.late"
    (verdict,) = lab.runner_of(place).run(parse({"t.yaml": EXPECT}).lab.expect)
    assert verdict.ok, verdict.detail
    lab.down(name)
    assert not [each for each in namespace.names() if each.startswith(f"weft-{name}-")]
