"""apply, diff, get and delete: what they print, what they leave in the store."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import FLEET, Weft
from tests.cli.test_mistakes import picture, put
from weft.model.endpoint import Endpoint
from weft.model.network import SegmentKey
from weft.store.records import Keys, encode


def test_apply_tells_each_object_and_then_nothing(weft: Weft) -> None:
    first = weft.apply(FLEET)
    assert (first.code, first.err) == (0, "")
    assert first.out.splitlines() == [
        *("+ node h1", "+ node h2", "+ network blue", "+ network red", "+ port a", "+ port b", "+ port c"),
    ]
    before = picture(weft)
    assert weft.apply(FLEET).out == "nothing to change\n"
    assert picture(weft) == before


def test_apply_changes_what_the_file_names_and_keeps_the_rest(weft: Weft) -> None:
    weft.apply(FLEET)
    answer = weft.apply("networks:\n  red: {vni: 6001, subnet: 10.1.1.0/24}\n", name="red.yaml")
    assert answer.out == "~ network red\n"
    assert [network["vni"] for network in json.loads(weft("get", "networks", "-o", "json").out)] == [5000, 6001]


def test_prune_deletes_what_no_file_names(weft: Weft) -> None:
    weft.apply(FLEET)
    less = FLEET.replace("  c: {network: red, node: h1, mac: 02:00:00:00:00:0c}\n", "")
    mac = json.loads(weft("get", "port", "a", "-o", "json").out)[0]["mac"]
    assert weft.apply(less, "--prune").out == "- port c\n"
    assert json.loads(weft("get", "port", "a", "-o", "json").out)[0]["mac"] == mac
    assert weft("get", "port", "c").code == 1


def test_several_files_and_stdin_are_one_document(weft: Weft) -> None:
    nodes, rest = FLEET.split("networks:")
    weft.file(nodes, "nodes.yaml")
    answer = weft.process("apply", "-f", "nodes.yaml", "-f", "-", stdin="networks:" + rest)
    assert answer.code == 0, answer
    assert len(answer.out.splitlines()) == 7
    twice = weft.process("apply", "-f", "nodes.yaml", "-f", "-", stdin=nodes)
    assert twice.code == 2
    assert "weft: <stdin>:2: node 'h1' is declared in nodes.yaml:2 already" in twice.err


@pytest.mark.system
def test_four_applies_at_once_give_every_port_an_address_of_its_own(weft: Weft) -> None:
    weft.apply(FLEET)
    ports = "ports:\n" + "".join(f"  p{{n}}x{i}: {{{{network: blue, node: h2}}}}\n" for i in range(5))
    for n in range(4):
        weft.file(ports.format(n=n), f"{n}.yaml")
    running = [weft.start("apply", "-f", f"{n}.yaml") for n in range(4)]
    told = [(process.communicate(), process.returncode) for process in running]
    assert [code for _, code in told] == [0] * 4, told
    stored = [port for port in json.loads(weft("get", "ports", "-o", "json").out) if port["network"] == "blue"]
    assert len(stored) == 22
    assert len({port["mac"] for port in stored}) == 22
    assert len({ip for port in stored for ip in port["ips"]}) == 22


def test_diff_tells_fields_and_operations_and_changes_nothing(weft: Weft) -> None:
    weft.apply(FLEET)
    before = picture(weft)
    weft.file("networks:\n  red: {vni: 6001, subnet: 10.1.1.0/24, mtu: 1400}\n", "red.yaml")
    answer = weft("diff", "-f", "red.yaml")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "store",
        "  ~ network red",
        "      vni 6000 → 6001",
        "      mtu none → 1400",
        "node h1",
        "  + segment 6001 (red): vtep 192.168.33.12 mtu 1400 static arp suppress",
        "  ~ port c: segment 6000 → 6001, mtu 1450 → 1400",
        "  + neighbors 6001: 10.1.1.1 → 02:00:00:00:00:0c",
        "  - segment 6000 (red)",
    ]
    told = json.loads(weft("diff", "-f", "red.yaml", "-o", "json").out)
    assert told["objects"] == [
        {
            "change": "~",
            "kind": "network",
            "name": "red",
            "fields": {"vni": {"old": 6000, "new": 6001}, "mtu": {"old": None, "new": 1400}},
        }
    ]
    assert list(told["nodes"]) == ["h1"]
    assert told["nodes"]["h1"][-1] == ["- segment 6000 (red)"]
    assert picture(weft) == before
    assert weft("diff", "-f", weft.file(FLEET)).out == "nothing to change\n"


def test_diff_tells_which_hosts_stay_as_they_are(weft: Weft) -> None:
    weft.apply(FLEET)
    changed = weft.file(FLEET.replace("192.168.33.13}", "192.168.33.13, datapath: user}"), "changed.yaml")
    answer = weft("diff", "-f", changed)
    assert "node h2\n  stays as it is with datapath kernel; stop its agent, `weft agent --node h2" in answer.out
    alone = "".join(line for line in FLEET.splitlines(keepends=True) if "h2" not in line)
    told = json.loads(weft("diff", "--prune", "-f", weft.file(alone, "alone.yaml"), "-o", "json").out)
    assert "is not declared any more" in told["left"]["h2"]
    assert list(told["nodes"]) == ["h1"]


ROUTER = """\
networks:
  red: {vni: 6000, subnet: 10.2.1.0/24}
routers:
  r: {gateways: {blue: 10.1.1.254, red: 10.2.1.254}%s}
"""


def test_diff_tells_what_a_router_s_change_does_on_each_node_and_nothing_of_what_stays(weft: Weft) -> None:
    weft.apply(FLEET.replace("red: {vni: 6000, subnet: 10.1.1.0/24}", "red: {vni: 6000, subnet: 10.2.1.0/24}"))
    weft.apply(ROUTER % "", name="router.yaml")
    assert weft("diff", "-f", "router.yaml").out == "nothing to change\n"
    routed = weft.file(ROUTER % ", routes: [{to: 50.1.1.0/24, via: 10.1.1.2}]")
    answer = weft("diff", "-f", routed)
    assert answer.out.splitlines() == [
        "store",
        "  ~ router r",
        "      routes none → to=50.1.1.0/24 via=10.1.1.2",
        *("node h1", "  + r: route 50.1.1.0/24 via 10.1.1.2 dev wi5000"),
        *("node h2", "  + r: route 50.1.1.0/24 via 10.1.1.2 dev wi5000"),
    ]
    pinned = json.loads(weft("diff", "-f", weft.file(ROUTER % ", placement: [h2]"), "-o", "json").out)
    steps = {node: [line for step in steps for line in step] for node, steps in pinned["nodes"].items()}
    assert "- router r" in steps["h1"]
    assert not any("router r" in line for line in steps["h2"] if line[0] == "-")
    assert any(line.startswith("~ irb r/wi5000") for line in steps["h2"]), steps["h2"]


def test_diff_does_not_say_none_where_all_nodes_take_part(weft: Weft) -> None:
    weft.apply(FLEET)
    answer = weft("diff", "-f", weft.file("networks:\n  pods: {vni: 7000, subnet: 10.9.0.0/16, routed: {}}\n"))
    (routed,) = [line for line in answer.out.splitlines() if line.startswith("      routed ")]
    assert "prefix_length=24" in routed
    assert "none" not in routed


def test_get_prints_columns(weft: Weft) -> None:
    weft.apply(FLEET)
    assert weft("get", "routers").out == "no routers\n"
    assert weft("get", "nodes").out == (
        "NAME  VTEP           DATAPATH\nh1    192.168.33.12  kernel\nh2    192.168.33.13  kernel\n"
    )
    assert weft("get", "node", "h2").out.splitlines()[1:] == ["h2    192.168.33.13  kernel"]
    assert "10.1.1.0/24" in weft("get", "network", "blue").out
    absent = weft("get", "node", "h7")
    assert (absent.code, absent.out) == (1, "")
    assert absent.err == "weft: node h7: is not stored; `weft get nodes` lists them\n"


def test_get_shows_ports_and_sightings_as_endpoints(weft: Weft) -> None:
    weft.apply(FLEET)
    seen = Endpoint(
        key=SegmentKey(4789, 6000), mac="02:00:00:00:00:aa", node="h2", ips=("10.1.1.77",), source="learned"
    )
    put(weft, Keys().endpoint(seen), encode(seen))
    found = json.loads(weft("get", "endpoints", "-o", "json").out)
    assert {(row["network"], row["node"], *row["ips"]) for row in found} == {
        ("blue", "h1", "10.1.1.1"),
        ("blue", "h2", "10.1.1.12"),
        ("red", "h1", "10.1.1.1"),
        ("red", "h2", "10.1.1.77"),
    }
    assert "learned" in weft("get", "endpoint", "02:00:00:00:00:aa").out


def test_delete_refuses_what_others_need(weft: Weft) -> None:
    weft.apply(FLEET + "routers:\n  r:\n    gateways: {red: 10.1.1.254}\n")
    before = picture(weft)
    node, network = weft("delete", "node", "h1"), weft("delete", "network", "red")
    assert (node.code, network.code) == (1, 1)
    assert node.err == "weft: node h1: is needed by port a, port c; delete or change those first\n"
    assert network.err == "weft: network red: is needed by port c, router r; delete or change those first\n"
    assert picture(weft) == before
    for kind, name in (("router", "r"), ("ports", "c"), ("network", "red"), ("port", "a"), ("nodes", "h1")):
        assert weft("delete", kind, name).out == f"- {kind.removesuffix('s')} {name}\n"
    assert weft("delete", "node", "h1").code == 1


def test_a_broken_record_is_told_and_can_be_deleted(weft: Weft) -> None:
    weft.apply(FLEET)
    put(weft, Keys().intent + "ports/blue/a", b"{\x1b[2J")
    told = weft("get", "ports")
    assert told.code == 0
    assert "ports/blue/a" in told.err
    assert weft("delete", "port", "a").code == 0
    assert weft("get", "ports").err == ""


def test_clusters_share_a_store_without_meeting(weft: Weft) -> None:
    weft.apply(FLEET)
    assert weft("get", "nodes", "--cluster", "other").out == "no nodes\n"
    assert weft.apply(FLEET, "--cluster", "other").code == 0


def test_what_is_stored_cannot_move_the_cursor(weft: Weft) -> None:
    weft.apply(FLEET)
    evil = b'{"key":[4789,6000],"mac":"02:00:00:00:00:aa","node":"h2","ips":["\\u001b[2J"]}'
    put(weft, Keys().endpoints + "6000/02:00:00:00:00:aa/h2", evil)
    assert "\x1b" not in weft("get", "endpoints").out
