"""`weft diff`: what `apply` of the same files would change, in the store and on each node; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli import options, output
from weft.cli.options import Output
from weft.cli.place import Place, place, run

if TYPE_CHECKING:
    from weft.cli.decide import ObjectChange
    from weft.compile.world import World
    from weft.plan.operations import Operation

_ROWS = 20  # rows of one operation that people get to see; JSON has all


def command(
    file: options.Files,
    prune: Annotated[bool, typer.Option("--prune", help="As apply --prune.")] = False,
    format: options.Format = Output.TEXT,
    store: options.Store = None,
    cluster: options.Cluster = None,
    lab: options.Lab = None,
) -> None:
    """Show what apply would change, and change nothing.

    First the stored objects, field by field; then, node by node, the operations that its agent would run if it is in
    sync now, or why it would leave its host as it is.
    """
    run(_diff(place(store, cluster, lab), file, prune, format))


async def _diff(where: Place, names: list[str], prune: bool, format: Output) -> None:
    from weft.agent.feed import Feed
    from weft.cli import decide, files
    from weft.compile.world import World
    from weft.store.intent import change, from_snapshot

    document = files.read(names)
    async with where.opened() as (store, keys):
        feed = Feed(keys)
        snapshot = await store.snapshot((keys.guard, keys.facts, keys.endpoints))
    stored = from_snapshot(snapshot, keys)
    feed.load(snapshot)
    intent = decide.decide(document, stored, prune=prune)
    objects = list(decide.object_changes(stored.intent, change(stored.intent, intent)))
    seen = list(feed.world.endpoints())
    world = World.of(intent, stored.facts, seen)
    left = dict(_left(feed.world, world))
    nodes = {node: steps for node, steps in _nodes(feed.world, world) if node not in left}
    if format is Output.JSON:
        output.say_json(
            {
                "objects": [_as_json(change) for change in objects],
                "nodes": {node: [str(step).splitlines() for step in steps] for node, steps in nodes.items()},
                "left": left,
            }
        )
    else:
        _print(objects, nodes, left)


def _nodes(old: World, new: World) -> Iterator[tuple[str, list[Operation]]]:
    """Every node whose plan differs, with the operations from the old plan to the new one."""
    from weft.compile.node import compile_node
    from weft.plan.diff import diff
    from weft.plan.node import Observed

    for node in sorted({*old.nodes, *new.nodes}):
        was = compile_node(old, node)
        held = Observed(was.segments, was.tables, was.ports, routers=was.routers, router_tables=was.router_tables)
        if steps := diff(compile_node(new, node), held):
            yield node, steps


def _left(old: World, new: World) -> Iterator[tuple[str, str]]:
    """Nodes that have something, which their agents leave as it is, with the reason and what to do."""
    from weft.compile.node import compile_node

    for name, node in sorted(old.nodes.items()):
        after = new.nodes.get(name)
        if (after and after.datapath == node.datapath) or not compile_node(old, name).segments:
            continue
        way = f"stop its agent, `weft agent --node {name} --cleanup`"
        if after:
            yield name, f"stays as it is with datapath {node.datapath}; {way}, start it again"
        else:
            yield name, f"stays as it is, and is not declared any more; {way}"


def _as_json(change: ObjectChange) -> dict[str, Any]:
    fields = {name: {"old": old, "new": new} for name, (old, new) in change.fields.items()}
    return {"change": change.sign, "kind": change.kind, "name": change.name, "fields": fields}


def _print(objects: list[ObjectChange], nodes: dict[str, list[Operation]], left: dict[str, str]) -> None:
    if not objects:
        output.say("nothing to change")
        return
    output.paint(output.colour("store", "bold"))
    for change in objects:
        output.paint("  " + output.signed(str(change)))
        for name, (old, new) in change.fields.items():
            output.say(
                f"      {name} {_text(new)}" if change.sign == "+" else f"      {name} {_text(old)} → {_text(new)}"
            )
    for node, steps in nodes.items():
        output.paint(output.colour(f"node {node}", "bold"))
        for step in steps:
            lines = str(step).splitlines()
            for line in lines[:_ROWS]:
                output.paint("  " + output.signed(line))
            if len(lines) > _ROWS:
                output.say(f"    … and {len(lines) - _ROWS} more rows")
    for node, why in left.items():
        output.paint(output.colour(f"node {node}", "bold"))
        output.paint(output.colour(f"  {why}", "yellow"))
    if not nodes and not left:
        output.say("no node has anything to do")


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        told = {key: each for key, each in value.items() if each not in ("", None, [], (), {})}
        return " ".join(f"{key}={_text(each)}" for key, each in told.items()) or "none"
    return "none" if value in (None, "") else str(value)
