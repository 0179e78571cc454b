"""`weft show`: what a node's datapath holds, beside what was planned."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import options, output
from weft.cli.options import Output
from weft.cli.place import Place, place, run
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.agent.feed import Feed
    from weft.agent.show import Row

# table → its columns; as in weft.agent.show, which must not be imported for --help
COLUMNS: dict[str, tuple[str, ...]] = {
    "fdb": ("network", "vni", "mac", "vtep", "node", "state"),
    "arp": ("router", "network", "vni", "ip", "mac", "state"),
    "routes": ("router", "to", "via", "device", "table", "state"),
    "flood": ("network", "vni", "to", "node", "state"),
    "ports": ("port", "network", "vni", "attach", "mac", "addresses", "mtu", "state"),
    "links": ("network", "vni", "bridge", "tunnel", "vtep", "mtu", "learning", "arp", "state"),
    "drops": ("reason", "packets"),
    "flows": ("table", "priority", "network", "packets", "age", "owner", "match", "actions"),
}


def command(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help=", ".join(COLUMNS) + ".", autocompletion=lambda: list(COLUMNS))
    ],
    node: Annotated[
        str | None,
        typer.Option("--node", metavar="NAME", help="Default: the only agent of this host, or its hostname."),
    ] = None,
    format: options.Format = Output.TEXT,
    store: options.Store = None,
    cluster: options.Cluster = None,
    lab: options.Lab = None,
) -> None:
    """Show what a node's datapath holds, beside what was planned.

    STATE: ok (planned and held), missing (planned, not held), extra (held, not planned), learned (found by the datapath
    itself), or what is wrong. Drops are counted by reason. Flows are those of Open vSwitch, names beside numbers.
    The node's agent is asked; where none answers on this host, root looks for itself; without a store all is "held".
    """
    if table not in COLUMNS:
        raise WeftError(Kind.USAGE, f"there is no table '{table}'", remedy=f"one of {', '.join(COLUMNS)}")
    where = place(store, cluster, lab)
    rows = rows_of(where, table, node or run(here(where)))
    if format is Output.JSON:
        output.say_json(rows)
    elif rows:
        output.columns(rows, COLUMNS[table])
    else:
        output.say(f"{table} is empty")


def rows_of(where: Place, table: str, node: str) -> list[Row]:
    """The rows of a node's table: from its agent, or by looking, where that can be done here."""
    from weft.agent import local

    try:
        rows: list[Row] = run(local.ask(where.directory, node, ask="show", table=table))["rows"]
        return rows
    except WeftError as error:
        if error.kind is not Kind.UNREACHABLE or not (where.lab or os.geteuid() == 0):
            raise
        output.warn(f"{error.what}; looking at the datapath instead")
    return _in_lab(where.lab, table, node) if where.lab else run(_observed(where, table, node))


def _in_lab(lab: str, table: str, node: str) -> list[Row]:
    from weft.lab import rootless
    from weft.lab.state import find

    rootless.enter(lab)
    from weft.lab import fleet

    found = find(lab)
    return fleet.rows(found, node, table)


async def _observed(where: Place, table: str, node: str) -> list[Row]:
    from weft.agent import show
    from weft.agent.layers import open_layers
    from weft.compile.node import compile_node
    from weft.model.node import DatapathKind

    try:
        world = (await _feed(where)).world
    except WeftError as error:
        return _held(where, table, node, error)
    declared = world.nodes.get(node)
    driver = open_layers(declared.datapath if declared else DatapathKind.KERNEL, where.cluster)
    try:
        if declared and driver.facts(node, declared.vtep).interface is None:
            what = f"this host is not node {node}: no device here holds its VTEP {declared.vtep}"
            raise WeftError(Kind.REFUSED, what, remedy=f"run it on {node}")
        nodes = {one.vtep: one.name for one in world.nodes.values()}
        return show.of(table, compile_node(world, node), driver, nodes)
    finally:
        driver.close()


def _held(where: Place, table: str, node: str, unplanned: WeftError) -> list[Row]:
    """As this host is, beside no plan; raises why there is none where nothing of ours is here."""
    from weft.agent import show
    from weft.agent.hold import as_it_is
    from weft.agent.layers import open_layers
    from weft.cli.driver import standing

    kind = next((kind for kind, _ in standing(where.cluster)), None)
    if kind is None:
        raise unplanned
    output.warn(f"{unplanned}; so what was planned is not known")
    driver = open_layers(kind, where.cluster)
    try:
        rows = show.of(table, as_it_is(node, driver.observe()), driver, {})
    finally:
        driver.close()
    return [row | {"state": "held"} if row.get("state") == "ok" else row for row in rows]


async def here(where: Place) -> str:
    """The node of this host: the only one with an agent's socket, else the one that has the hostname."""
    sockets = sorted(path.stem for path in where.directory.glob("*.sock") if _answers(path))
    if len(sockets) == 1:
        return sockets[0]
    declared = (await _feed(where)).world.nodes
    hostname = socket.gethostname()
    for name in (hostname, hostname.partition(".")[0]):
        if name in declared:
            return name
    known = ", ".join(sockets or sorted(declared)[:8]) or "none is declared"
    raise WeftError(Kind.USAGE, "which node?", remedy=f"say --node NAME; there are: {known}")


def _answers(path: Path) -> bool:
    """Whether somebody listens there: a killed agent leaves its socket behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


async def _feed(where: Place) -> Feed:
    from weft.agent.feed import Feed

    async with where.opened() as (store, keys):
        feed = Feed(keys)
        feed.load(await store.snapshot(feed.prefixes))
    return feed
