"""`weft agent`: one node's agent in the foreground, fit for a service manager."""

from __future__ import annotations

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft import __version__
from weft.cli import options, output
from weft.cli.place import Place, place, run
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    import asyncio

    from weft.agent.agent import Agent
    from weft.l2.datapath import Datapath
    from weft.store.late import LateStore

_CAP_NET_ADMIN = 12  # include/uapi/linux/capability.h


class DatapathName(StrEnum):
    """As weft.model.node.DatapathKind, without importing msgspec for --help."""

    KERNEL = "kernel"
    OVS = "ovs"
    USER = "user"


class LogFormat(StrEnum):
    """How the agent logs to standard error."""

    TEXT = "text"
    JSON = "json"


def command(
    node: Annotated[
        str, typer.Option("--node", envvar="WEFT_NODE", metavar="NAME", help="The declared node that this host is.")
    ],
    datapath: Annotated[
        DatapathName | None,
        typer.Option(envvar="WEFT_DATAPATH", help="How this node forwards. [default: as the node is declared]"),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers",
            envvar="WEFT_WORKERS",
            metavar="N|auto",
            help="Processes that forward, for datapath user; a forwarder that runs already keeps its own."
            " [default: auto, half of the cores, 1 to 4]",
        ),
    ] = "",
    cleanup: Annotated[
        bool, typer.Option("--cleanup", help="Remove everything of ours from this host and end.")
    ] = False,
    log: Annotated[
        LogFormat, typer.Option("--log", help="key=value lines, or one JSON object a line.")
    ] = LogFormat.TEXT,
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics",
            envvar="WEFT_METRICS",
            metavar="[ADDRESS:]PORT",
            help="Serve /metrics and /healthz there; without an address on the loopback only. [default: not at all]",
        ),
    ] = "",
    store: options.Store = None,
    cluster: options.Cluster = None,
    lab: options.Lab = None,
) -> None:
    """Keep this host's datapath as the store says, until stopped.

    Stopping it, in whatever way, leaves the datapath forwarding; --cleanup alone removes what is ours, of whichever
    datapath. One agent per
    node and host. It starts without its store too, says so (/healthz), and leaves the host as it is until that answers.
    """
    from weft.model.validate.problem import name_problem

    if problems := name_problem((), "node", node):
        raise WeftError(Kind.USAGE, problems[0].what, remedy=problems[0].remedy)
    where = place(store, cluster, lab)
    configure(log)
    permitted()
    if cleanup:
        _cleanup(where, node, datapath)
        return
    driver = _driver(where, node, datapath, workers)
    try:
        run(_agent(where, node, driver, metrics))
    finally:
        driver.close()


def _driver(where: Place, node: str, datapath: DatapathName | None, workers: str) -> Datapath:
    from weft.agent.layers import open_layers
    from weft.cli.driver import alone, chosen
    from weft.l2.user import count
    from weft.model.node import DatapathKind

    kind = DatapathKind(datapath.value) if datapath else chosen(where, node)
    if workers and kind is not DatapathKind.USER:
        remedy = "leave out --workers and WEFT_WORKERS, or choose datapath user"
        raise WeftError(Kind.USAGE, f"datapath {kind} has no forwarding processes", where=f"node {node}", remedy=remedy)
    number = count.workers(workers or "auto") if kind is DatapathKind.USER else None
    alone(kind, where.cluster, node)
    return open_layers(kind, where.cluster, workers=number)


def permitted() -> None:
    """Raises REFUSED where this process may not configure the network it stands in."""
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    if not effective >> _CAP_NET_ADMIN & 1:
        raise WeftError(
            Kind.REFUSED,
            "this user may not configure this host's network (CAP_NET_ADMIN is missing)",
            remedy="run it as root; `weft lab up` needs no root, nor datapath user with `weft outside`",
        )


async def _agent(where: Place, node: str, driver: Datapath, metrics: str) -> None:
    import asyncio
    import signal

    from weft.agent import local
    from weft.agent.agent import Agent
    from weft.agent.lock import HostLock, NodeLock
    from weft.agent.notify import Notifier
    from weft.agent.probes import Probes
    from weft.agent.steady import steady
    from weft.agent.until import unless

    notifier = Notifier()
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as opened:
        opened.callback(NodeLock(where.directory, where.cluster, node).close)
        opened.callback(HostLock(where.directory, where.cluster).close)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        probes = Probes(where.cluster)
        opened.callback(probes.close)
        store = _store(where.url)
        opened.push_async_callback(store.close)
        agent = Agent(store, node, driver, cluster=where.cluster, told=notifier.report, settled=steady, probes=probes)
        server = await local.serve(agent, where.directory)
        opened.callback(local.socket_path(where.directory, node).unlink, missing_ok=True)
        opened.callback(server.close)
        if metrics and (pages := await _pages(agent, metrics)):
            opened.callback(pages.close)
        feeding = asyncio.create_task(notifier.feed(agent.progressing))
        opened.callback(feeding.cancel)
        _log("started", node=node, version=__version__, store=store.url, cluster=where.cluster)
        await unless(stop, agent.run())
        notifier.stopping()
        _log("stopped", node=node)  # the datapath goes on forwarding


def _store(url: str) -> LateStore:
    """The store, open or not yet; raises what waiting will not mend, such as USAGE."""
    from weft.store import open_store
    from weft.store.late import LateStore

    store = LateStore(url, lambda: open_store(url, create=False))
    try:
        store.opened()
    except WeftError as error:
        if not error.retry:
            raise
    return store


async def _pages(agent: Agent, where: str) -> asyncio.Server | None:
    """/metrics and /healthz; where nobody can listen it is told, since networks do not wait for figures."""
    from weft.agent import http

    http.address(where)  # a wrong command line is refused
    try:
        return await http.serve(agent, where)
    except WeftError as error:
        _log("metrics", warning=True, error=str(error))
        return None


def _cleanup(where: Place, node: str, datapath: DatapathName | None) -> None:
    from weft.agent.lock import HostLock, NodeLock
    from weft.cli.driver import cleaned
    from weft.model.node import DatapathKind

    with contextlib.ExitStack() as held:
        held.callback(NodeLock(where.directory, where.cluster, node).close)
        held.callback(HostLock(where.directory, where.cluster).close)
        applied = list(cleaned(DatapathKind(datapath.value) if datapath else None, where.cluster, node))
    for operation in (operation for each in applied for operation in each.done):
        output.paint(output.signed(str(operation)))
    failed = [failure for each in applied for failure in each.failed]
    for operation, error in failed:
        output.warn(f"{str(operation).splitlines()[0]}: {error}")
    if failed:
        raise typer.Exit(1)
    if not any(each.done for each in applied):
        output.say("nothing of ours is here")
    with contextlib.suppress(WeftError):  # a host is cleaned up whether its store answers or not
        run(_withdrawn(where, node))


async def _withdrawn(where: Place, node: str) -> None:
    """Takes back the node's report: what it told of is gone."""
    from weft.store import Delete

    async with where.opened() as (store, keys):
        await store.transact([], [Delete(f"{keys.status}{node}")])


def _log(event: str, *, warning: bool = False, **values: object) -> None:
    import structlog

    logger = structlog.get_logger("weft.agent")
    (logger.warning if warning else logger.info)(event, **values)


def configure(log: LogFormat) -> None:
    """Logs to standard error: `2026-01-31T12:00:00Z info applied operations=3`, or JSON."""
    import structlog

    text = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if log is LogFormat.JSON else text,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
