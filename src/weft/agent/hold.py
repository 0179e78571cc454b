"""What an agent must leave as it is: networks and routers whose intent is broken, invalid or beyond this host.

A plan that cannot be trusted never replaces one that works: the last good state of such a network stays on the wire,
and the reason is in the status.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from weft.compile.judged import few
from weft.compile.world import World
from weft.model.errors import WeftError
from weft.model.validate import Problem, contradictions, problems
from weft.plan.node import NodePlan, Observed
from weft.store.records import Keys


@dataclass(frozen=True, slots=True)
class Held:
    """Name → reasons why this node must not touch it. `sound`: there is no problem at all, of other nodes neither."""

    networks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    routers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sound: bool = False

    def told(self) -> list[str]:
        """One line for each reason."""
        kinds = (("network", self.networks), ("router", self.routers))
        return [
            f"{kind} {name} is held as it is: {why}"
            for kind, things in kinds
            for name, whys in sorted(things.items())
            for why in whys
        ]


def held(world: World, broken: dict[str, WeftError], keys: Keys, node: str) -> Held:
    """What this node must not touch. Objects that concern no network of the node hold nothing."""
    mine = {name: facts for name, facts in world.facts.items() if name == node}
    intent = None if broken else few(world)
    if intent is not None and not problems(intent) and not contradictions(intent, mine):
        return Held(sound=True)
    networks: dict[str, list[str]] = {}
    routers: dict[str, list[str]] = {}
    everywhere = set(world.networks) | set(world.ports)
    for key, error in broken.items():
        kind, name, network = keys.kind_and_name(key)
        of_kind = {"ports": {network}, "networks": {name}, "nodes": everywhere}.get(kind, set())
        _add(networks, of_kind, str(error))
        _add(routers, {name} if kind == "routers" else set(), str(error))
    intent = world.intent()
    twins = _twins(world) if len(world.declarations) > len(intent.ports) else {}
    for name, of_networks in twins.items():
        text = f"ports.{name}: a port of this name stands in {len(of_networks)} networks; delete all but one"
        _add(networks, of_networks, text)
    of_intent = problems(intent)
    for problem in of_intent:
        text = f"{'.'.join(str(part) for part in problem.path)}: {problem.what}"
        _add(networks, _networks(world, problem), text)
        _add(routers, {str(problem.path[1])} if problem.path[0] == "routers" else set(), text)
    of_facts = contradictions(intent, mine)
    for problem in of_facts:
        here = _networks(world, problem) & {name for name in world.networks if _here(world, name, node)}
        _add(networks, here, f"{problem.what}; {problem.remedy}")
    for name, router in world.routers.items():
        for network in router.gateways.keys() & networks.keys():
            _add(routers, {name}, f"its network {network} is held")
    return Held(
        {network: tuple(texts) for network, texts in networks.items()},
        {router: tuple(texts) for router, texts in routers.items()},
        sound=not (broken or twins or of_intent or of_facts),
    )


def hold(plan: NodePlan, observed: Observed, kept: Held) -> NodePlan:
    """`plan`, in which what is held stands as last compiled; what was never compiled stands exactly as observed."""
    routers = {
        name: router for name, router in observed.routers.items() if name in kept.routers and name not in plan.routers
    }
    namespaces = {router.namespace for router in routers.values()}
    theirs = {name: port for name, port in observed.ports.items() if port.attach.target in namespaces}
    compiled = {segment.network for segment in plan.segments.values()}
    names = set(kept.networks) - compiled
    joined = {port.segment for port in theirs.values()}
    segments = {
        key: segment
        for key, segment in observed.segments.items()
        if segment.network in names or (key in joined and segment.network not in compiled)
    }
    if not segments and not routers:
        return plan
    ports = {name: port for name, port in observed.ports.items() if port.segment in segments}
    return NodePlan(
        plan.node,
        plan.segments | segments,
        plan.tables | {key: observed.tables[key] for key in segments},
        ports | theirs | plan.ports,
        plan.routers | routers,
        plan.router_tables | {key: rows for key, rows in observed.router_tables.items() if key.router in routers},
    )


def left_as(wanted: NodePlan, observed: Observed) -> Observed:
    """What is held once all operations are done."""
    return Observed(
        wanted.segments,
        wanted.tables,
        wanted.ports,
        learned=observed.learned,
        routers=wanted.routers,
        router_tables=wanted.router_tables,
    )


def as_it_is(node: str, observed: Observed) -> NodePlan:
    """A store that nobody has applied anything to is a new or a lost one: no reason to take down what works."""
    return NodePlan(node, observed.segments, observed.tables, observed.ports, observed.routers, observed.router_tables)


def _add(reasons: dict[str, list[str]], networks: Iterable[str], text: str) -> None:
    for network in networks:
        reasons.setdefault(network, []).append(text)


def _twins(world: World) -> dict[str, set[str]]:
    """Names that ports of several networks have: among all objects each can stand but once."""
    return {name: set(world.declarations.networks_with(name)) for name in world.declarations.twins()}


def _networks(world: World, problem: Problem) -> set[str]:
    kind, name = str(problem.path[0]), str(problem.path[1]) if len(problem.path) > 1 else ""
    if kind == "networks":
        return {name}
    if kind == "ports":
        return set(world.declarations.networks_with(name))
    if kind == "nodes":
        return {network for network in world.networks if _here(world, network, name)}
    return set()


def _here(world: World, network: str, node: str) -> bool:
    return any(member.name == node for member in world.members(network))
