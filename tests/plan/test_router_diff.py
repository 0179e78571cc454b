"""Routers: plan in, exact operations out, as text a person can review."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from tests.fleet import network, nodes, port
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.model.intent import Intent
from weft.model.port import Port
from weft.model.router import External, Policy, Route, Router
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed
from weft.plan.router import RouterDevice

TEN = network("ten", 10)
TWENTY = network("twenty", 20, subnets=("20.1.1.0/24",))
PORTS = [port("a", "ten", "h1", 11), port("b", "twenty", "h2", 12)]


def moved(one: Port, ip: str) -> Port:
    return Port(name=one.name, network=one.network, node=one.node, attach=one.attach, mac=one.mac, ips=(ip,))


def plan(router: Router, node: str = "h1", *more: Router) -> NodePlan:
    ports = {"a": PORTS[0], "b": moved(PORTS[1], "20.1.1.12")}
    routers = {each.name: each for each in (router, *more)}
    return compile_node(World.of(Intent(nodes(3), {"ten": TEN, "twenty": TWENTY}, routers, ports)), node)


def held(of: NodePlan, **more: object) -> Observed:
    whole = Observed(of.segments, of.tables, of.ports, routers=of.routers, router_tables=of.router_tables)
    return replace(whole, **more)  # type: ignore[arg-type]


def lines(wanted: NodePlan, actual: Observed) -> list[str]:
    found = [line for operation in diff(wanted, actual) for line in str(operation).splitlines()]
    return [line for line in found if not line.startswith(("+ segment", "+ flood", "+ fdb 1", "+ fdb 2"))]


ASYMMETRIC = Router(name="r", gateways={"ten": ("10.1.1.1",), "twenty": ("20.1.1.1",)})
SYMMETRIC = Router(name="r", gateways={"ten": ("10.1.1.1",), "twenty": ("20.1.1.1",)}, vni=5000)


def test_asymmetric_irb_from_nothing() -> None:
    assert lines(plan(ASYMMETRIC), Observed()) == [
        "+ router r: namespace wr-r",
        "+ port a: segment 10 namespace a mac 02:00:00:00:00:0b 10.1.1.11/24",
        "+ port r/ten: segment 10 namespace wr-r mac 0a:a3:25:ce:06:5b",
        "+ port r/twenty: segment 20 namespace wr-r mac 0a:39:44:21:99:1b",
        "+ irb r/wi10: mac 0a:a3:25:ce:06:5b anycast 0a:ee:a6:ca:d4:54 10.1.1.1/32",
        "+ irb r/wi20: mac 0a:39:44:21:99:1b anycast 0a:40:23:84:20:7b 20.1.1.1/32",
        "+ neighbors 10: 10.1.1.1 → 0a:ee:a6:ca:d4:54",
        "+ neighbors 10: 10.1.1.11 → 02:00:00:00:00:0b",
        "+ neighbors 20: 20.1.1.1 → 0a:40:23:84:20:7b",
        "+ neighbors 20: 20.1.1.12 → 02:00:00:00:00:0c",
        "+ neighbors r/wi10: 10.1.1.11 → 02:00:00:00:00:0b",
        "+ neighbors r/wi20: 20.1.1.12 → 02:00:00:00:00:0c",
        "+ r: route 10.1.1.0/24 dev wi10",
        "+ r: route 20.1.1.0/24 dev wi20",
    ]


def test_symmetric_irb_needs_nothing_of_a_network_without_ports_here() -> None:
    assert lines(plan(SYMMETRIC), Observed()) == [
        "+ router r: namespace wr-r l3 vni 5000 router mac 0a:bc:86:8c:de:be",
        "+ port a: segment 10 namespace a mac 02:00:00:00:00:0b 10.1.1.11/24",
        "+ port r/ten: segment 10 namespace wr-r mac 0a:a3:25:ce:06:5b",
        "+ irb r/wi10: mac 0a:a3:25:ce:06:5b anycast 0a:ee:a6:ca:d4:54 10.1.1.1/32",
        "+ neighbors 10: 10.1.1.1 → 0a:ee:a6:ca:d4:54",
        "+ neighbors 10: 10.1.1.11 → 02:00:00:00:00:0b",
        "+ neighbors r/wi10: 10.1.1.11 → 02:00:00:00:00:0b",
        "+ fdb r/wx5000: 0a:52:34:0d:ed:41 → 192.168.33.12",
        "+ neighbors r/wx5000: 192.168.33.12 → 0a:52:34:0d:ed:41",
        "+ neighbors r/wx5000: fd57:6566:7400::c0a8:210c → 0a:52:34:0d:ed:41",
        "+ routes r/wx5000: 20.1.1.12 → 192.168.33.12",
        "+ r: route 10.1.1.0/24 dev wi10",
        "+ r: route 20.1.1.0/24 unreachable",
    ]


def test_back_to_nothing_ports_go_before_their_router() -> None:
    assert lines(NodePlan("h1"), held(plan(ASYMMETRIC))) == [
        "- port a",
        "- port r/ten",
        "- port r/twenty",
        "- router r",
        "- segment 10 (ten)",
        "- segment 20 (twenty)",
    ]


def test_agreement_needs_no_operation() -> None:
    for router in (ASYMMETRIC, SYMMETRIC):
        assert lines(plan(router), held(plan(router))) == []


def test_routes_and_rules_change_together() -> None:
    border = Router(
        name="edge",
        gateways={"ten": ("10.1.1.2",)},
        placement=("h3",),
        external=(External(node="h3", interface="eth9", address="50.1.1.254/24", nat="masquerade"),),
    )
    routed = replace_router(ASYMMETRIC, routes=(Route(to="50.1.1.0/24", via=("10.1.1.2",)),))
    ruled = replace_router(
        ASYMMETRIC, policies=(Policy(via=("10.1.1.2",), source="10.1.1.0/24", protocol="tcp", ports=(443,)),)
    )
    assert lines(plan(ruled, "h1", border), held(plan(routed, "h1", border))) == [
        "+ r: route 0.0.0.0/0 via 10.1.1.2 dev wi10 table 1000",
        "+ r: rule 1000: to 10.1.1.0/24 table 254",
        "+ r: rule 1000: to 20.1.1.0/24 table 254",
        "+ r: rule 1001: from 10.1.1.0/24 protocol tcp port 443 table 1000",
        "- r: route 50.1.1.0/24 via 10.1.1.2 dev wi10",
    ]


def test_changes_are_told_in_words() -> None:
    side = External(node="h1", interface="eth9", address="50.1.1.254/24")
    placed = replace_router(ASYMMETRIC, placement=("h1",), external=(side,))
    static = (("10.1.1.8", "50.1.1.8"), ("10.1.1.9", "50.1.1.9"))
    changed = replace_router(placed, external=(msgspec.structs.replace(side, nat="masquerade", static=static),))
    assert lines(plan(changed), held(plan(placed))) == [
        "~ router r: outside: addresses 50.1.1.254/24 → 50.1.1.254/24 50.1.1.8/32 50.1.1.9/32, masquerade no → yes, "
        "nat none → 50.1.1.8 for 10.1.1.8, 50.1.1.9 for 10.1.1.9"
    ]
    without = replace_router(placed, external=())
    assert lines(plan(placed), held(plan(without))) == ["~ router r: outside none → eth9 50.1.1.254/24"]


def replace_router(router: Router, **more: object) -> Router:
    return msgspec.structs.replace(router, **more)


def test_a_flaw_is_mended_by_putting_its_part_again() -> None:
    of = plan(ASYMMETRIC)
    flaws = {RouterDevice("r", ""): ("wx is down",), RouterDevice("r", "wi10"): ("net/x is not 1",)}
    assert lines(of, held(of, flaws=flaws)) == ["~ router r: wx is down", "~ irb r/wi10: net/x is not 1"]
