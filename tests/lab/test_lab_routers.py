"""Routed traffic while agents die and come back or the store is lost, and what others delete under a running agent."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.conftest import REPOSITORY
from weft.cli import main
from weft.lab import agents, inside, lab, process
from weft.lab import fleet as lab_fleet
from weft.lab.fleet import wait
from weft.lab.state import LabState
from weft.lab.stream import stream
from weft.model.file import parse
from weft.model.lab import Kill, Ping, Step
from weft.netlink import namespace

pytestmark = pytest.mark.system
PATIENCE = 30.0
"""Seconds after which a test gives up: far below a resync's 60, and no measure of how fast it should be."""


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("07b-distributed-asymmetric", signal.SIGKILL),
        ("07c-symmetric", signal.SIGTERM),
        ("04b-centralized-control-plane", signal.SIGKILL),
    ],
)
def test_agents_killed_and_restarted_during_routed_traffic_lose_nothing(
    name: str, file: str, how: signal.Signals
) -> None:
    place = up(name, file)
    names = lab.names_of(name)
    source, target = ("vm-a", "vm-b") if file.startswith("04") else ("vm1", "vm5")
    nodes = [host.name for host in names.topology.hosts]

    def meanwhile() -> None:
        for path in place.agent_pids():
            found = process.read(path)
            assert found
            os.kill(found.pid, how)
        agents.stop(place)
        time.sleep(0.5)
        agents.start(place)
        wait(place, nodes, 60, lambda *told: None)

    ends = names.end_point(source), names.end_point(target)
    pinged = stream(
        ends[0].netns, ends[0].addresses[0], ends[1].addresses[0], count=400, interval=0.01, meanwhile=meanwhile
    )
    assert pinged.received == pinged.sent, str(pinged)


def test_a_lost_store_moves_no_gateway_and_one_that_dies_meanwhile_is_replaced_all_the_same(name: str) -> None:
    place = up(name, "04c-failover")
    names = lab.names_of(name)
    source, target = names.end_point("vm-a"), names.end_point("vm-b")
    candidates = [inside.find(names, f"{node}/gw").netns for node in ("vtep3", "vtep4")]
    away = place.directory / "away"
    away.mkdir()
    files = list(place.directory.glob("store.db*"))
    assert files

    def lose() -> None:
        for file in files:
            file.rename(away / file.name)

    pinged = stream(source.netns, source.addresses[0], target.addresses[0], count=300, interval=0.01, meanwhile=lose)
    assert pinged.received == pinged.sent, str(pinged)
    assert [namespace.identity(candidate) is not None for candidate in candidates] == [True, False]

    killed = Ping(source="vm-a", to="vm-b", count=100, interval=0.05, lose=59, meanwhile=Kill(node="vtep3"))
    (verdict,) = lab.runner_of(place).run([Step(action=killed)])
    assert verdict.ok, verdict
    assert namespace.identity(candidates[1]) is not None


def up(name: str, file: str) -> LabState:
    path = REPOSITORY / "labs" / f"{file}.yaml"
    return lab.up(parse({path.name: path.read_text()}), name)


def again(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it did not come back"
        time.sleep(0.02)


def test_a_route_deleted_by_somebody_is_back_without_waiting_for_a_resync(name: str) -> None:
    up(name, "08b-border-static")
    router = inside.find(lab.names_of(name), "gw1/tenant").netns
    assert inside.run(router, ["ip", "route", "del", "50.1.1.0/24"])[0] == 0
    again(lambda: "50.1.1.0/24" in inside.run(router, ["ip", "route"])[1])


def test_routes_and_neighbors_are_shown_by_router_and_node(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    up(name, "08b-border-static")
    monkeypatch.setenv("WEFT_LAB", name)

    def shown(table: str, node: str) -> list[dict[str, str]]:
        assert main.run(["show", table, "--node", node, "-o", "json"]) == 0
        rows: list[dict[str, str]] = json.loads(capsys.readouterr().out)
        return rows

    routes = {
        node: {(row["router"], row["to"], row["via"], row["state"]) for row in shown("routes", node)}
        for node in ("gw1", "border")
    }
    assert routes["gw1"] == {("tenant", "10.1.1.0/24", "-", "ok"), ("tenant", "50.1.1.0/24", "10.1.1.2", "ok")}
    assert {router for router, *_ in routes["border"]} <= {"edge"}
    neighbors = {
        node: {(row["router"], row["ip"], row["state"]) for row in shown("arp", node) if row["router"]}
        for node in ("gw1", "border")
    }
    hosts = ("10.1.1.11", "10.1.1.12")
    assert neighbors["gw1"] == {("tenant", ip, "ok") for ip in (*hosts, "10.1.1.2")}
    assert {("edge", ip, "ok") for ip in hosts} <= neighbors["border"]


def test_nat_and_a_whole_router_deleted_by_somebody_are_back_without_waiting_for_a_resync(name: str) -> None:
    up(name, "05b-nat")
    names = lab.names_of(name)
    router, source = inside.find(names, "vtep3/gw").netns, names.end_point("vm-a")
    assert inside.run(router, ["nft", "flush", "ruleset"])[0] == 0
    again(lambda: "masquerade" in inside.run(router, ["nft", "list", "ruleset"])[1])

    before = namespace.identity(router)
    namespace.delete(router)
    again(lambda: namespace.identity(router) not in (None, before))
    again(lambda: stream(source.netns, source.addresses[0], "10.1.20.1", count=1, interval=0.1).received == 1)


BORDER = """
nodes: {n1: {vtep: 192.168.33.11}, n2: {vtep: 192.168.33.12}}
networks: {c1: {vni: 11, subnet: 10.11.0.0/24}}
ports: {a: {network: c1, node: n1, ips: 10.11.0.11}}
routers: {r: {gateways: {c1: 10.11.0.1}, placement: PLACEMENT, external: {n2: {interface: eth9, address: 50.1.1.1/24}}}}
"""


@pytest.mark.parametrize("placement", ["[n1, n2]", "distributed"])
def test_an_outside_is_missed_where_its_router_does_not_stand_yet(
    name: str, placement: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = lab.up(parse({"border.yaml": BORDER.replace("PLACEMENT", placement)}), name, agents=False)
    agents.start(place)
    monkeypatch.setenv("WEFT_LAB", name)

    def told() -> bool:
        main.run(["status"])
        return "n2: router r: its outside eth9 does not exist; create it first" in capsys.readouterr().out

    again(told)
    host = lab.names_of(name).netns("n2")
    assert inside.run(host, ["ip", "link", "add", "eth9", "type", "bridge"])[0] == 0
    wait(place, ["n1", "n2"], PATIENCE, lambda *told: None)
    assert not told()


CHANGING = """
nodes: {n1: {vtep: 192.168.33.11}, n2: {vtep: 192.168.33.12}}
networks: {c1: {vni: 11, subnet: 10.11.0.0/24}, c2: {vni: 12, subnet: 10.12.0.0/24}}
ports: {a: {network: c1, node: n1, ips: 10.11.0.11}, b: {network: c2, node: n2, ips: 10.12.0.11}}
routers: {r: {gateways: {c1: 10.11.0.1, c2: 10.12.0.1}, placement: [n1]}}
"""


def test_hosts_hear_of_a_gateways_new_mac_and_down_leaves_no_router_that_came_later(name: str) -> None:
    place = lab.up(parse({"f.yaml": CHANGING}), name)
    names = lab.names_of(name)
    source, target = names.end_point("a"), names.end_point("b")

    def meanwhile() -> None:
        distributed = lab_fleet.complete(parse({"f.yaml": CHANGING.replace(", placement: [n1]", "")}))
        lab_fleet.store(place, distributed)
        wait(place, ["n1", "n2"], 60, lambda *told: None)

    pinged = stream(
        source.netns, source.addresses[0], target.addresses[0], count=300, interval=0.02, meanwhile=meanwhile
    )
    assert pinged.received >= 200, str(pinged)  # a host that is not told goes on with the old MAC for half a minute
    assert any(each.startswith(f"weft-{name}-n2.wr-") for each in namespace.names())
    lab.down(name)
    assert [each for each in namespace.names() if each.startswith(f"weft-{name}-")] == []
