"""`weft doctor`: is this host fit, and if not, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import options, output
from weft.cli.options import Output
from weft.cli.place import Place, place, run
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.agent.doctor import Check
    from weft.agent.feed import Feed
    from weft.l2.datapath import Datapath


def command(
    node: Annotated[
        str | None, typer.Option("--node", metavar="NAME", help="The declared node that this host is; in a lab: which.")
    ] = None,
    format: options.Format = Output.TEXT,
    store: options.Store = None,
    cluster: options.Cluster = None,
    lab: options.Lab = None,
) -> None:
    """Check this host: kernel, store, VTEP, MTU, UDP ports, the path to each peer.

    Each finding is ok, warn or fail, with its remedy. Exit 1 if one fails. Sends a few datagrams that VTEPs ignore to
    the declared peers. With --lab and --node it looks from inside that host of the lab.
    """
    where = place(store, cluster, lab)
    checks = _in_lab(where, lab, node) if lab and node else list(_checks(where, node))
    if format is Output.JSON:
        output.say_json(checks)
    else:
        _print(checks)
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)


def _in_lab(where: Place, lab: str, node: str) -> list[Check]:
    """The checks, made inside a host of a lab."""
    from weft.lab import rootless

    rootless.enter(lab)
    from weft.lab.inside import find
    from weft.lab.lab import names_of
    from weft.netlink.namespace import entered

    with entered(find(names_of(lab), node).netns):  # all sockets of the checks are made in this thread
        return list(_checks(where, node))


def _checks(where: Place, node: str | None) -> Iterator[Check]:
    from weft.agent import doctor
    from weft.cli.show import here

    yield from doctor.check_host()
    try:
        feed = run(_feed(where))
        what = f"{where.url}, cluster {where.cluster}, revision {feed.revision}"
        yield doctor.Check("store", doctor.State.OK, what)
    except WeftError as error:
        yield doctor.unreachable("store", error)
        feed = None
    for broken in feed.broken.values() if feed else ():
        yield doctor.unreachable("store", broken)
    if feed is not None and node is None:
        try:
            node = run(here(where))
        except WeftError as error:
            remedy = "say --node NAME to check its VTEP, MTU and peers"
            yield doctor.Check("node", doctor.State.WARN, f"cannot tell which node this is ({error.what})", remedy)
    yield from _datapath(where, feed, node)
    if node is not None:
        yield run(_agent(where, node))


def _datapath(where: Place, feed: Feed | None, node: str | None) -> Iterator[Check]:
    from weft.agent import doctor
    from weft.agent.layers import open_layers
    from weft.cli.driver import left, standing
    from weft.compile.world import World
    from weft.model.node import DatapathKind
    from weft.netlink.ethtool import offloads
    from weft.netlink.outside import lender

    world = feed.world if feed else World()
    declared = world.nodes.get(node or "")
    kind = declared.datapath if declared else DatapathKind.KERNEL
    driver = _lab_datapath(where.lab, node) if where.lab and node else open_layers(kind, where.cluster)
    try:
        facts = driver.facts(node or "", declared.vtep if declared else "")
        yield from doctor.check_kernel(facts.missing)
        if facts.interface is not None and lender() is None:
            yield doctor.check_offloads(facts.interface, offloads(facts.interface))
        if feed is not None and node is not None:
            others = {} if where.lab else dict(standing(where.cluster, kind))  # a lab's hosts have one datapath each
            for other, segments in others.items():
                yield doctor.unreachable("datapath", left(other, len(segments), kind, node))
            holders = {key.udp_port: by for by, segments in others.items() for key in segments}
            holders |= {key.udp_port: kind for key in driver.observe().segments}
            yield from doctor.check_node(world, node, facts, holders)
            yield from doctor.check_ovs(driver)
            yield from doctor.check_user(driver)
    except WeftError as error:
        yield doctor.unreachable("datapath", error)
    finally:
        driver.close()


def _lab_datapath(lab: str, node: str) -> Datapath:
    from weft.lab.fleet import open_datapath
    from weft.lab.state import find

    return open_datapath(find(lab), node)


async def _feed(where: Place) -> Feed:
    from weft.agent.feed import Feed

    async with where.opened() as (store, keys):
        feed = Feed(keys)
        feed.load(await store.snapshot(feed.prefixes))
    return feed


async def _agent(where: Place, node: str) -> Check:
    from weft.agent import doctor, local
    from weft.agent.status import first

    try:
        told = (await local.ask(where.directory, node, ask="status"))["status"]
    except WeftError as error:
        if error.kind is Kind.UNREACHABLE:
            return doctor.Check("agent", doctor.State.WARN, error.what, error.remedy)
        return doctor.unreachable("agent", error)
    if told["in_sync"]:
        return doctor.Check("agent", doctor.State.OK, f"runs and is in sync with revision {told['revision']}")
    return doctor.Check("agent", doctor.State.FAIL, f"is not in sync: {first(told['errors'])}", "`weft status`")


def _print(checks: list[Check]) -> None:
    width = max(len(check.name) for check in checks)
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    for check in checks:
        state = output.colour(f"{check.state:<4}", colours[check.state])
        output.paint(f"{state}  {output.colour(check.name.ljust(width), '')}  {output.colour(check.what, '')}")
        if check.remedy:
            output.say(f"      {'':{width}}  → {check.remedy}")
