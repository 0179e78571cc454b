"""The lab's fleet as the layers below know it: the store, the agents' reports, the tables a datapath holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from weft.agent import local, show
from weft.agent.agent import Agent
from weft.agent.feed import Feed
from weft.agent.lock import NodeLock
from weft.agent.probes import Probes
from weft.agent.status import wait_in_sync
from weft.agent.steady import steady
from weft.compile.node import compile_node
from weft.l2.datapath import Datapath
from weft.lab import switches
from weft.lab.state import CLUSTER, LabState
from weft.lab.topology import container_name, netns_of
from weft.model.allocate import assign
from weft.model.errors import Kind, WeftError
from weft.model.file import Document, check
from weft.model.intent import Intent
from weft.model.node import DatapathKind
from weft.model.prefix import assign_prefixes
from weft.store import Store, open_store
from weft.store.intent import update
from weft.store.records import Keys


def complete(document: Document) -> Intent:
    """The document's intent, checked, with all MACs, addresses and prefixes. Raises WeftErrors."""
    return assign(assign_prefixes(check(document, build=True), Intent(), document.where), Intent())


def store(state: LabState, intent: Intent) -> None:
    """Puts the intent into the lab's store."""

    async def work() -> None:
        opened = open_store(state.store_url)
        try:
            await update(opened, Keys(CLUSTER), lambda _: intent)
        finally:
            await opened.close()

    asyncio.run(work())


def wait(state: LabState, nodes: list[str], timeout: float, progress: Callable[[int, int, str], None]) -> None:
    """Until every node is in sync; raises FAILED, naming nodes and their reasons, after `timeout` seconds."""

    async def work() -> None:
        opened = open_store(state.store_url)
        try:
            await wait_in_sync(opened, Keys(CLUSTER), nodes, timeout, progress)
        finally:
            await opened.close()

    asyncio.run(work())


def rows(state: LabState, node: str, table: str) -> list[dict[str, str]]:
    """A node's table as `weft show` prints it: from its agent, or, where none runs, from the datapath itself."""
    try:
        answer = asyncio.run(local.ask(state.directory, node, ask="show", table=table))
        return [dict(row) for row in answer["rows"]]
    except WeftError as error:
        if error.kind is not Kind.UNREACHABLE:
            raise
    return asyncio.run(_observed(state, node, table))


async def _observed(state: LabState, node: str, table: str) -> list[dict[str, str]]:
    opened = open_store(state.store_url)
    try:
        feed = Feed(Keys(CLUSTER))
        feed.load(await opened.snapshot(feed.prefixes))
    finally:
        await opened.close()
    datapath = open_datapath(state, node)
    try:
        nodes = {each.vtep: each.name for each in feed.world.nodes.values()}
        return show.of(table, compile_node(feed.world, node), datapath, nodes)
    finally:
        datapath.close()


async def run_agent(state: LabState, opened: Store, node: str) -> None:
    """One node's agent, until cancelled."""
    lock = NodeLock(state.directory, CLUSTER, node)
    try:
        datapath = open_datapath(state, node)
        try:
            probes = Probes(CLUSTER, state.record().topology.machine(node).netns)
            agent = Agent(opened, node, datapath, cluster=CLUSTER, settled=steady, probes=probes)
            server = await local.serve(agent, state.directory)
            try:
                await agent.run()
            finally:
                server.close()
                probes.close()
        finally:
            datapath.close()
    finally:
        lock.close()


def open_datapath(state: LabState, node: str) -> Datapath:
    """The datapath of one host of the lab, working in the host's namespace."""
    from weft.agent.layers import Layers, open_layers
    from weft.l3.routing import KernelRouting

    record = state.record()
    topology = record.topology
    machine = topology.machine(node)

    def names(name: str) -> str:
        """What a port or router calls a namespace is, in this lab, one of the host's."""
        return netns_of(topology.lab, container_name(node, name))

    if machine.datapath is DatapathKind.OVS:  # its own, not the system's
        from weft.l2.ovs.datapath import OvsDatapath

        switch = OvsDatapath(topology.lab, machine.netns, names, switches.directory(state, node))
        return Layers(switch, KernelRouting(topology.lab, machine.netns, names))
    return open_layers(machine.datapath, topology.lab, machine.netns, names)
