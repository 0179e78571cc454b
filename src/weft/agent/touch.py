"""Endpoint changes alone: their rows and no others, so that a change costs what it changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from weft.agent.feed import Moves
from weft.compile.rows import touch
from weft.compile.world import World
from weft.model.network import SegmentKey
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import DropRows, Operation, PutRows
from weft.plan.router import RouterDevice


def rows_of(
    plan: NodePlan, world: World, moves: Moves, kept: Collection[str]
) -> tuple[NodePlan, list[PutRows | DropRows], set[str]]:
    """(plan, operations, networks that must be compiled whole): those that are held (`kept`) or have a router, which
    may need to know too."""
    operations: list[PutRows | DropRows] = []
    whole: set[str] = set()
    routed = {name for router in world.routers.values() for name in router.gateways}
    vnis = {key.vni for key in moves}
    networks = {network.key: network for network in world.networks.values() if network.vni in vnis}
    for key, (macs, ips) in moves.items():
        network = networks.get(key)
        if network is None:
            continue
        if network.name in kept or network.name in routed:
            whole.add(network.name)
            continue
        plan, more = touch(plan, world, network, macs, ips)
        operations += more
    puts = [operation for operation in operations if isinstance(operation, PutRows)]
    drops = [operation for operation in operations if isinstance(operation, DropRows)]
    return plan, [*puts, *drops], whole


def tables_of(operations: Iterable[PutRows | DropRows], plan: NodePlan, of: NodePlan | Observed) -> dict[str, Any]:
    """The tables of `of`; those that the operations were about as `plan` has them."""
    keys = {operation.key for operation in operations}
    tables = {key: plan.tables[key] for key in keys if isinstance(key, SegmentKey)}
    router_tables = {key: plan.router_tables[key] for key in keys if isinstance(key, RouterDevice)}
    return {"tables": of.tables | tables, "router_tables": of.router_tables | router_tables}


def count(plan: NodePlan) -> int:
    """The rows of all tables."""
    return sum(
        len(tables.fdb) + len(tables.neighbors) + len(tables.flood) + len(tables.routes)
        for tables in (*plan.tables.values(), *plan.router_tables.values())
    )


def rows_only(operations: Iterable[Operation]) -> bool:
    return all(isinstance(operation, PutRows | DropRows) for operation in operations)
