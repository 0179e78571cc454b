"""The nodes whose life decides something here: they hold, or could hold, a role that this node depends on.

A centralized router's candidates, for each other and for all members of its networks, whose tables say where it is; and
borders that are one of several next hops.
"""

from __future__ import annotations

from weft.compile.world import World, hops
from weft.model.router import Router


def peers(world: World, node: str) -> dict[str, str]:
    """Name → VTEP address of each such node, without this one."""
    found: set[str] = set()
    networks: dict[str, bool] = {}  # whether this node is a member
    for router in world.routers.values():
        if router.placement:
            found |= set(router.placement) if _matters(world, router, node, networks) else set()
        elif node not in world.instances(router):
            continue
        several = hops(router) if _has_choice(router) else set()
        for other in world.routers.values() if several else ():
            if any(not several.isdisjoint(addresses) for addresses in other.gateways.values()):
                found |= set(other.placement)
    return {name: world.nodes[name].vtep for name in sorted(found - {node}) if name in world.nodes}


def _matters(world: World, router: Router, node: str, networks: dict[str, bool]) -> bool:
    if len(router.placement) < 2:
        return False
    for name in router.gateways:
        if name not in networks:
            networks[name] = any(member.name == node for member in world.members(name))
    return any(networks[name] for name in router.gateways)


def _has_choice(router: Router) -> bool:
    via = [*(route.via for route in router.routes), *(policy.via for policy in router.policies)]
    return any(len(several) > 1 for several in via)
