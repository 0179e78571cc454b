"""The routers' part of the diff. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from weft.plan.changes import changes
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import PutIrb, PutPaths, PutRouter
from weft.plan.router import Router, RouterDevice, connected

_PARTS = ("interfaces", "routes", "rules", "lost")  # put by operations of their own


def put_routers(wanted: NodePlan, actual: Observed) -> Iterator[PutRouter]:
    for name, router in sorted(wanted.routers.items()):
        there = actual.routers.get(name)
        if there is None:
            yield PutRouter(router)
        elif why := (*changes(there, router, *_PARTS).values(), *actual.flaws.get(RouterDevice(name, ""), ())):
            yield PutRouter(router, why)


def put_irbs(wanted: NodePlan, actual: Observed) -> Iterator[PutIrb]:
    for name, router in sorted(wanted.routers.items()):
        held = {irb.device: irb for irb in _there(actual, name).interfaces}
        for irb in router.interfaces:
            there = held.get(irb.device)
            if there is None:
                yield PutIrb(router, irb)
            elif why := (*changes(there, irb).values(), *actual.flaws.get(RouterDevice(name, irb.device), ())):
                yield PutIrb(router, irb, why)


def put_paths(wanted: NodePlan, actual: Observed) -> Iterator[PutPaths]:
    for name, router in sorted(wanted.routers.items()):
        there = _there(actual, name)
        why = [f"+ route {route}" for route in router.routes if route not in there.routes]
        why += [f"+ route {route}" for route in connected(router) if route in there.lost]
        why += [f"+ rule {rule}" for rule in router.rules if rule not in there.rules]
        why += [f"- rule {rule}" for rule in there.rules if rule not in router.rules]
        kept = {(route.to, route.table) for route in router.routes}
        why += [f"- route {route}" for route in there.routes if (route.to, route.table) not in kept]
        if why:
            yield PutPaths(router, tuple(why))


def _there(actual: Observed, name: str) -> Router:
    return actual.routers.get(name) or Router(name, "")
