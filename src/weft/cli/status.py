"""`weft status`: every node at a glance."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from weft.cli import options, output
from weft.cli.options import Output
from weft.cli.place import Place, place, run

if TYPE_CHECKING:
    from weft.agent.status import Status

_COLUMNS = (
    "node",
    "in_sync",
    "alive",
    "revision",
    "datapath",
    "segments",
    "ports",
    "rows",
    "operations",
    "drift",
    "version",
    "age",
)


def command(
    format: options.Format = Output.TEXT,
    store: options.Store = None,
    cluster: options.Cluster = None,
    lab: options.Lab = None,
) -> None:
    """Show whether every node holds what is stored.

    Exit 1 if a declared node is not in sync or its agent is not alive: fit for scripts and monitoring. IN SYNC is
    "stale" where an agent that is not alive said so last. AGE is the time since the report last changed; drift counts
    what others changed and the agent put back.
    """
    if not run(_status(place(store, cluster, lab), format)):
        raise typer.Exit(1)


async def _status(where: Place, format: Output) -> bool:
    from weft.agent.status import read
    from weft.store.intent import read as read_intent

    async with where.opened() as (store, keys):
        stored = await read_intent(store, keys)
        reports, alive = await read(store, keys)
    now = time.time()
    nodes = [
        _node(name, reports.get(name), declared=name in stored.intent.nodes, alive=name in alive, now=now)
        for name in sorted({*stored.intent.nodes, *reports})
    ]
    broken = [str(error) for _, error in sorted(stored.broken.items())]
    ok = all(node["in_sync"] and node["alive"] for node in nodes if node["declared"]) and not broken
    if format is Output.JSON:
        output.say_json({"ok": ok, "revision": stored.revision, "nodes": nodes, "broken": broken})
    else:
        _print(nodes, broken)
    return ok


def _node(name: str, report: Status | None, *, declared: bool, alive: bool, now: float) -> dict[str, Any]:
    import msgspec

    silent = f"no agent has reported; run on that host: weft agent --node {name}"
    errors = [] if report else ["its agent has not reported yet" if alive else silent]
    told: dict[str, Any] = msgspec.to_builtins(report) if report else {"in_sync": False, "errors": errors, "notes": []}
    seconds = round(max(now - report.time, 0.0), 1) if report and report.time else None
    stale = told["in_sync"] and not alive
    told["in_sync"] = told["in_sync"] and alive
    return {**told, "node": name, "declared": declared, "alive": alive, "stale": stale, "age": seconds}


def _print(nodes: list[dict[str, Any]], broken: list[str]) -> None:
    if nodes:
        output.columns([{name: _cell(node.get(name)) for name in _COLUMNS} for node in _shown(nodes)], _COLUMNS)
    else:
        output.say("no nodes are declared")
    for node in nodes:
        for error in node["errors"]:
            output.paint(output.colour(f"{node['node']}: {error}", "red"))
        for note in node["notes"]:
            output.say(f"{node['node']}: {note}")
        if node["stale"]:
            said = f"{node['node']}: its agent is not alive; what it said last was in sync"
            output.paint(output.colour(f"{said}{_ago(node['age'])}", "yellow"))
        if not node["declared"] and not any("is not declared" in error for error in node["errors"]):
            output.say(f"{node['node']}: is not declared (any more); `weft delete node {node['node']}` forgets it")
    for line in broken:
        output.paint(output.colour(line, "red"))


def _shown(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As people read them: ages in words, and what a dead agent said last is no yes."""
    ages = [None if node["age"] is None else output.age(node["age"]) for node in nodes]
    return [
        {**node, "age": age, "in_sync": "stale" if node["stale"] else node["in_sync"]}
        for node, age in zip(nodes, ages, strict=True)
    ]


def _ago(seconds: float | None) -> str:
    return "" if seconds is None else f", {output.age(seconds)} ago"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
