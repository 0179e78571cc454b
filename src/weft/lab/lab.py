"""A whole fleet on one machine: up, down, list, exec, test. What `weft lab` does, without its command line.

Ordinary users: call `rootless.hold` before `up`, and `rootless.enter` at the start of every process that works on the
lab; from there on everything here is the same for them.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from weft.lab import agents as fleet_agents
from weft.lab import build, flannel, inside, process, rootless, state, switches, topology
from weft.lab.names import Names
from weft.lab.runner import Runner, Verdict
from weft.model.errors import Kind, WeftError
from weft.model.file import Document
from weft.model.intent import Intent
from weft.model.lab import Mutation
from weft.model.port import AttachKind
from weft.netlink import namespace
from weft.plan.router import namespace_of

Progress = Callable[[str, int, int], None]  # (what, done, of)


def _silent(what: str, done: int, of: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Listed:
    """A lab as `weft lab list` shows it.

    `status`: up; stale: the machine was restarted, or its holder is dead, only the record is left; broken: agents or
    namespaces are missing; half-built: its `up` was killed.
    """

    name: str
    status: str
    hosts: int = 0
    containers: int = 0
    created: float = 0.0
    source: str = ""
    directory: str = ""


@dataclass(frozen=True, slots=True)
class Tested:
    """The verdicts on a lab's steps. With a mutation, `good` means that some step noticed it."""

    verdicts: tuple[Verdict, ...]
    mutation: str = ""

    @property
    def good(self) -> bool:
        all_ok = all(verdict.ok for verdict in self.verdicts)
        return not all_ok if self.mutation else all_ok


def up(
    document: Document,
    name: str = "",
    *,
    offloads: bool = True,
    agents: bool = True,
    processes: int = 1,
    timeout: float = 60.0,
    source: str = "",
    progress: Progress = _silent,
) -> state.LabState:
    """Builds the lab and waits until every agent is in sync; leaves nothing behind where it fails.

    Raises REFUSED for a lab that is up already, FAILED, naming node and reason, for agents not in sync, or nodes of
    flannel not ready, after `timeout` seconds. `offloads` False: captures show packets as a NIC would send them.
    `processes`: for the agents.
    """
    from weft.lab import fleet

    name = name or document.lab.name
    intent = fleet.complete(document)
    _need_tap(intent)
    if agents:
        flannel.check(document.lab.flannel)
    planned = topology.plan(name, document.lab, intent)
    place = state.create(name)
    try:
        # before the record: what is in it may be removed by name
        build.refuse_taken(planned)
        place.write(
            state.Record(
                topology=planned,
                boot=state.boot_id(),
                created=time.time(),
                offloads=offloads,
                intent=intent,
                processes=processes if agents else 0,
                source=source,
            )
        )
        # Open vSwitch reads what it gets from its NIC as it is: no segments joined, no checksums left to finish
        build.build(planned, offloads=offloads and not switches.needed(intent), progress=progress)
        switches.start(place, planned, intent)
        fleet.store(place, intent)
        if agents:
            until = time.monotonic() + timeout
            fleet_agents.start(place, processes)
            _wait(place, planned, timeout, progress)
            flannel.start(place, planned, document.lab.flannel, until, progress)
    except BaseException:
        down(name)
        raise
    return place


def down(name: str) -> None:
    """Ends the lab's agents and whatever runs in it, and removes its namespaces by name. Raises NOT_FOUND."""
    place = state.find(name)
    fleet_agents.stop(place)
    reachable = not place.holder.exists() or not rootless.needed()
    if reachable and (place.directory / "topology.json").exists():
        record = place.record()
        if record.boot == state.boot_id():
            names = _namespaces(record.topology)
            switches.stop(place)
            flannel.stop(place)  # by themselves they would try to give their leases back, to an etcd that goes as well
            process.stop(process.inside(namespace.path(each) for each in names))
            _forget_forwarders(names)
            build.remove(names)
    rootless.release(name)
    place.forget()


def _forget_forwarders(names: Iterable[str]) -> None:
    """Removes the run directories that the hosts' forwarders, which were killed, have left."""
    from weft.l2.user import process as forwarders

    for name in filter(namespace.exists, names):
        for directory in forwarders.run_directories(namespace.path(name)):
            forwarders.forget(directory)


def _namespaces(planned: topology.Topology) -> tuple[str, ...]:
    """All that the lab's record names, and of its hosts' routers those that were applied later."""
    later = tuple(f"{host.netns}.{namespace_of('')}" for host in planned.hosts)
    return tuple(dict.fromkeys((*planned.namespaces, *(name for name in namespace.names() if name.startswith(later)))))


def listing() -> list[Listed]:
    """Every lab of this user, whatever is left of it."""
    return [_listed(place) for place in state.every()]


def names_of(name: str) -> Names:
    """The names of a lab that is up, as its store declares them now; raises NOT_FOUND."""
    return _names(state.find(name))


def _names(place: state.LabState) -> Names:
    from weft.lab.grow import declared

    record = place.record()
    return Names(declared(place) or record.intent, record.topology)


def exec_(name: str, where: str, argv: Sequence[str]) -> int:
    """Runs a command in a host, container or port's namespace, with our input and output; returns its exit code."""
    machine = inside.find(names_of(name), where)
    return inside.call(machine.netns, argv, switches.environment(state.find(name), machine.name))


def test(
    document: Document,
    *,
    name: str = "",
    pcap: Path | None = None,
    mutation: str = "",
    processes: int = 1,
    timeout: float = 60.0,
    source: str = "",
    progress: Progress = _silent,
    told: Callable[[Verdict], None] = lambda verdict: None,
) -> Tested:
    """Up with offloads off, the file's steps, down. `pcap`: a directory for captures. Raises as `up` does.

    With a mutation's name its commands run first (`mutate`), and the steps end with the first that fails.
    """
    name = name or document.lab.name
    broken = _mutation(document, mutation) if mutation else None
    place = up(document, name, offloads=False, processes=processes, timeout=timeout, source=source, progress=progress)
    try:
        if broken:
            mutate(place, broken)
        runner = runner_of(place, pcap)
        verdicts = runner.run(document.lab.expect, stop_at_failure=broken is not None, progress=told)
        return Tested(tuple(verdicts), mutation)
    finally:
        down(name)


def runner_of(place: state.LabState, pcap: Path | None = None) -> Runner:
    """Runs steps in a lab that is up."""
    from weft.lab import fleet
    from weft.lab.happen import happen

    environment = partial(switches.environment, place)
    return Runner(_names(place), partial(fleet.rows, place), partial(happen, place), pcap, environment)


def mutate(place: state.LabState, mutation: Mutation) -> None:
    """Stops the agents, so that nobody repairs it, and breaks the lab. Raises FAILED for a command that fails.

    Agents that carry ARP themselves go on: without them every step would notice, whatever the command.
    """
    flannel.stop(place)
    record = place.record()
    if not any(network.relayed for network in record.intent.networks.values()):
        fleet_agents.stop(place)
    names = Names(record.intent, record.topology)
    for host, command in mutation.commands:
        machine = inside.find(names, host)
        env = switches.environment(place, machine.name)
        code, output = inside.run(machine.netns, shlex.split(command), env=env)
        if code:
            raise WeftError(
                Kind.FAILED, f"`{command}` on {host} ended with {code}: {output}", where=f"mutation {mutation.name}"
            )


def _mutation(document: Document, name: str) -> Mutation:
    for mutation in document.lab.mutations:
        if mutation.name == name:
            return mutation
    known = ", ".join(mutation.name for mutation in document.lab.mutations) or "none"
    raise WeftError(Kind.NOT_FOUND, f"the file has no mutation '{name}'", remedy=f"it has: {known}")


def _wait(place: state.LabState, planned: topology.Topology, timeout: float, progress: Progress) -> None:
    from weft.lab import fleet

    nodes = [host.name for host in planned.hosts]
    with _dead_agents(place):
        fleet.wait(place, nodes, timeout, lambda ready, of, _: progress("agents in sync", ready, of))


@contextlib.contextmanager
def _dead_agents(place: state.LabState) -> Iterator[None]:
    """Says so where waiting was in vain because the agents' process has ended."""
    try:
        yield
    except WeftError as error:
        if why := fleet_agents.why_dead(place):
            raise WeftError(error.kind, why, where=f"lab {place.name}") from error
        raise


def _need_tap(intent: Intent) -> None:
    taps = [port.name for port in intent.ports.values() if port.attach.kind is AttachKind.TAP]
    if taps and (refusal := rootless.tap_refusal()):
        refusal.where = f"port {taps[0]}"
        raise refusal


def _listed(place: state.LabState) -> Listed:
    directory = str(place.directory)
    try:
        record = place.record()
    except WeftError:
        return Listed(place.name, "half-built", directory=directory)
    kinds = [machine.kind for machine in record.topology.machines]
    return Listed(
        place.name,
        _status(place, record),
        hosts=kinds.count("host"),
        containers=kinds.count("container"),
        created=record.created,
        source=record.source,
        directory=directory,
    )


def _status(place: state.LabState, record: state.Record) -> str:
    if record.boot != state.boot_id():
        return "stale"
    if place.holder.exists():
        holder = process.read(place.holder)
        if holder is None or not process.alive(holder):
            return "stale"
        visible = not rootless.needed()
    else:
        visible = True
    if visible and not all(namespace.exists(name) for name in record.topology.built):
        return "broken"
    return "up" if place.agents_alive() == record.processes else "broken"
