"""A lab grows with its intent: a port in a container that nobody has made yet gets its namespace.

One task beside the lab's agents, inside the namespaces of a lab without root as they are. What is made stands in the
lab's record first, so that `down` removes it. Ports on hosts that the lab does not have are left alone.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from weft.lab import build
from weft.lab.state import CLUSTER, LabState
from weft.lab.topology import Machine, Topology, container_name, netns_of
from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent
from weft.model.port import AttachKind
from weft.netlink import namespace
from weft.store import Store, open_store
from weft.store.intent import Stored, read
from weft.store.records import Keys

log = structlog.get_logger("weft.lab")


async def grow(state: LabState, store: Store, keys: Keys) -> None:
    """Follows the store's ports until cancelled, or until the store's handle is closed. Raises WeftError."""
    while True:
        stored = await read(store, keys)
        follow(state, stored.intent)
        async for _ in store.watch((f"{keys.intent}ports/",), stored.revision + 1):
            break
        else:
            return


def declared(state: LabState) -> Intent | None:
    """The intent as the lab's store has it now; None where the store is gone, empty, or cannot be read."""

    async def work() -> Stored:
        opened = open_store(state.store_url, create=False)
        try:
            return await read(opened, Keys(CLUSTER))
        finally:
            await opened.close()

    try:
        stored = asyncio.run(work())
    except WeftError:
        return None
    return stored.intent if stored.guard else None


def follow(state: LabState, intent: Intent) -> list[str]:
    """Makes the namespaces that the intent names and the lab lacks; their names."""
    record = state.record()
    wanted = _missing(record.topology, intent)
    for machine in list(wanted):
        if namespace.exists(machine.netns):
            log.error("lab", error=str(_taken(machine)))
            wanted.remove(machine)
    if wanted:
        topology = msgspec.structs.replace(record.topology, machines=(*record.topology.machines, *wanted))
        state.write(msgspec.structs.replace(record, topology=topology, intent=intent))
        for machine in wanted:
            build.add_end(machine)
    return [machine.netns for machine in wanted]


def _missing(topology: Topology, intent: Intent) -> list[Machine]:
    hosts = {host.name for host in topology.hosts}
    there = {machine.name for machine in topology.machines}
    names = {
        container_name(port.node, port.attach.target)
        for port in intent.ports.values()
        if port.attach.kind is AttachKind.NAMESPACE and port.node in hosts
    }
    lab = topology.lab
    return [Machine(name=name, kind="container", netns=netns_of(lab, name)) for name in sorted(names - there)]


def _taken(machine: Machine) -> WeftError:
    return WeftError(
        Kind.REFUSED,
        "the network namespace is there already and not of this lab",
        where=machine.netns,
        remedy="remove it, or name the port's namespace otherwise",
    )
