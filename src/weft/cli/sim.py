"""`weft sim`: what a fleet costs each of its agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import options, output
from weft.cli.building import end_by_sigterm
from weft.cli.options import Output

if TYPE_CHECKING:
    from weft.sim.run import Result

_COLUMNS = ("nodes", "networks", "ports", "store", "its_networks", "held", "rows", "read", "memory", "load_s")
_EVENT_COLUMNS = ("nodes", "event", "cpu_ms", "octets", "operations")


def command(
    nodes: Annotated[int, typer.Option(help="VTEPs of the fleet.")] = 100,
    networks: Annotated[int, typer.Option(help="Networks of the fleet.")] = 50,
    ports: Annotated[int, typer.Option(help="Ports of the fleet.")] = 10_000,
    spread: Annotated[
        int | None, typer.Option(help="Nodes on which a network's ports stand. [default: 20, or all of fewer]")
    ] = None,
    agents: Annotated[int, typer.Option(min=1, help="Agents to measure, one after the other; the median is told.")] = 1,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            help="A store to use, under cluster weft-sim, which is emptied again. [default: a sqlite file of its own]",
        ),
    ] = None,
    format: options.Format = Output.TEXT,
) -> None:
    """Measure what a fleet of a size costs an agent: memory, what it reads, CPU per event; and how that grows.

    At an eighth, a quarter, half and all of the size: the real store, the real agent with compile and diff, and a
    datapath that counts operations instead of doing them. No root, no network.
    """
    from weft.sim.fleet import Size
    from weft.sim.run import measure

    end_by_sigterm()
    with output.progress() as tell:
        results = list(
            measure(Size(nodes, networks, ports, min(20, nodes) if spread is None else spread), agents, store, tell)
        )
    if format is Output.JSON:
        output.say_json({"sizes": results})
    else:
        _print(results)


def _print(results: list[Result]) -> None:
    rows = [
        {
            "nodes": str(each.nodes),
            "networks": str(each.fleet_networks),
            "ports": str(each.ports),
            "store": _octets(each.store),
            "its_networks": str(each.networks),
            "held": str(each.held),
            "rows": str(each.rows),
            "read": _octets(each.read),
            "memory": _octets(each.memory),
            "load_s": f"{each.load_s:.2f}",
        }
        for each in results
    ]
    output.columns(rows, _COLUMNS)
    output.say()
    events = [
        {
            "nodes": str(each.nodes),
            "event": name,
            "cpu_ms": f"{event.cpu_ms:.2f}",
            "octets": f"{event.octets:.0f}",
            "operations": f"{event.operations:.1f}",
        }
        for name in results[-1].events
        for each in results
        if (event := each.events.get(name))
    ]
    output.columns(events, _EVENT_COLUMNS)


def _octets(value: float) -> str:
    return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"
