"""Rows of `weft show` from plans, against what stands there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fleet import network, nodes, port
from weft.agent.show import rows
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.model.intent import Intent
from weft.model.network import Arp, Learning
from weft.model.router import External, Router
from weft.plan.node import NodePlan, Observed
from weft.plan.router import connected

RELAYED = network("ten", 10, learning=Learning.DATA_PLANE, arp=Arp.PROXY)
OUTSIDE = External(node="h1", interface="eth9", address="60.1.1.2/24")


def plan(router: Router) -> NodePlan:
    intent = Intent(nodes(2), {"ten": RELAYED}, {router.name: router}, {"a": port("a", "ten", "h1", 11)})
    return compile_node(World.of(intent), "h1")


def routes(wanted: NodePlan, held: NodePlan) -> list[tuple[str, ...]]:
    observed = Observed(held.segments, held.tables, held.ports, routers=held.routers, router_tables=held.router_tables)
    return [tuple(row.values()) for row in rows("routes", wanted, observed, {})]


RELAY = plan(Router(name="r", gateways={"ten": ("10.1.1.1",)}))
PLACED = plan(Router(name="r", gateways={"ten": ("10.1.1.1",)}, placement=("h1",), external=(OUTSIDE,)))
TEN = ("r", "10.1.1.0/24", "-", "wi10", "main")


@pytest.mark.parametrize(("of", "wanted"), [(RELAY, [TEN]), (PLACED, [TEN, ("r", "60.1.1.0/24", "-", "eth9", "main")])])
def test_a_router_has_routes_to_the_subnets_of_its_addresses(of: NodePlan, wanted: list[tuple[str, ...]]) -> None:
    assert routes(of, of) == [(*row, "ok") for row in wanted]


def test_an_address_that_is_gone_takes_its_route_along() -> None:
    router = RELAY.routers["r"]
    bare = replace(router, interfaces=tuple(replace(irb, addresses=()) for irb in router.interfaces))
    assert routes(RELAY, replace(RELAY, routers={"r": bare})) == [(*TEN, "missing")]


def test_a_route_that_went_without_its_address_is_missing() -> None:
    router = RELAY.routers["r"]
    assert routes(RELAY, replace(RELAY, routers={"r": replace(router, lost=tuple(connected(router)))})) == [
        (*TEN, "missing")
    ]
