"""A node's whole plan, or the parts of it that changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from weft.compile.routed import compile_routed
from weft.compile.router import compile_router
from weft.compile.segment import compile_segment
from weft.compile.world import World
from weft.plan.node import NodePlan


def compile_node(world: World, node: str) -> NodePlan:
    """Everything this VTEP must know. A node that nobody declared has an empty plan."""
    return recompile(NodePlan(node), world, world.networks)


def recompile(
    plan: NodePlan,
    world: World,
    networks: Iterable[str],
    held: Collection[str] = (),
    held_routers: Collection[str] = (),
) -> NodePlan:
    """`plan` with the parts of these networks made anew from the world; equal to `compile_node` if no other changed.

    What routers join is made anew together. Networks and routers that are `held` stay as they stand in `plan`.
    """
    dirty = world.neighbors_of(networks) - set(held)
    segments = {key: segment for key, segment in plan.segments.items() if segment.network not in dirty}
    tables = {key: plan.tables[key] for key in segments}
    routers = {
        name: router for name, router in plan.routers.items() if name in held_routers or _untouched(world, name, dirty)
    }
    router_tables = {key: rows for key, rows in plan.router_tables.items() if key.router in routers}
    theirs = {router.namespace for router in routers.values()}
    ports = {
        name: port for name, port in plan.ports.items() if port.segment in segments or port.attach.target in theirs
    }
    me = world.nodes.get(plan.node)
    if me is not None:
        for name in sorted(dirty):
            network = world.networks.get(name)
            part = (compile_routed if network.routed else compile_segment)(world, network, me) if network else None
            if part:
                segments[part.segment.key] = part.segment
                tables[part.segment.key] = part.tables
                ports |= {port.name: port for port in part.ports}
        for name, router in sorted(world.routers.items()):
            known = name in routers or name in held_routers
            made = None if known else compile_router(world, router, me, segments)
            if made:
                routers[name] = made.router
                router_tables |= made.tables
                ports |= {port.name: port for port in made.ports}
    return NodePlan(plan.node, segments, tables, ports, routers, router_tables)


def _untouched(world: World, name: str, dirty: set[str]) -> bool:
    router = world.routers.get(name)
    return router is not None and dirty.isdisjoint(router.gateways)
