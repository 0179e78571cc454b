"""Open vSwitch's datapath, put together: each operation goes to the file of its kind.

An apply works on the picture of the last observation. Segments and ports are made one after the other, rows are
gathered, and the flows that come of all of it are written as one bundle: before anything is dropped, and at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

from weft.l2.datapath import Applied, Counters, Event, Heard, Punted, ToPorts, ToTunnels
from weft.l2.ovs import facts, flows, frames, port, segment, show, tables, tunnel, underlay
from weft.l2.ovs.events import Events
from weft.l2.ovs.flows import Flow, Held, Ports, TunnelPort
from weft.l2.ovs.frames import Outlets
from weft.l2.ovs.next_hops import NextHops
from weft.l2.ovs.ovsdb import Bridge
from weft.l2.ovs.punt import Punt, local_devices
from weft.l2.ovs.switch import INTEGRATION, RUNDIR, TUNNELS, UNDERLAY, Snapshot, Switch
from weft.l2.ovs.told_routes import Told
from weft.l2.ovs.traps import Trap, traps
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.model.node import Facts
from weft.plan.node import Observed
from weft.plan.operations import DropPort, DropRows, DropSegment, Operation, PutPort, PutRows, PutSegment
from weft.plan.port import LocalPort
from weft.plan.router import RouterDevice
from weft.plan.tables import Tables

Failed = list[tuple[Operation, WeftError]]


def _same(name: str) -> str:
    return name


class OvsDatapath:
    """Implements weft.l2.datapath.Datapath.

    `namespace`, `ports`: as for the kernel's datapath. `rundir`: the directory of Open vSwitch's sockets; the
    default is the system's own, a lab has one for each host.
    """

    takes_udp_port = True  # what arrives on a segment's UDP port never reaches a vxlan device beside it

    def __init__(
        self,
        cluster: str = "default",
        namespace: str | None = None,
        ports: Callable[[str], str] = _same,
        rundir: Path = RUNDIR,
    ) -> None:
        self._switch = Switch(cluster, namespace, ports, rundir)
        self._held: dict[SegmentKey, Held] = {}
        self._ports: dict[str, LocalPort] = {}
        self._flows: set[Flow] = set()  # ours, in br-tun
        self._forget: set[int] = set()  # tags whose learned flows are to go
        self._seen = False
        self._unresolved = False  # whether next hops have to be asked for
        self._next_hops = NextHops(self._switch)
        self._rundir = rundir
        self._told = Told()
        self._outlets: Outlets | None = None  # None after what may have changed them
        self._ours: tuple[dict[int, SegmentKey], int] = ({}, 0)  # as Events.learn takes it

    @cached_property
    def _events(self) -> Events:
        made = Events(self._rundir, self._switch.host, self._next_hops)
        made.learn(*self._ours)
        return made

    @cached_property
    def _punt(self) -> Punt:
        return Punt(self._switch)

    def facts(self, node: str, vtep: str) -> Facts:
        return facts.facts(self._switch, node, vtep)

    # Observe

    def observe(self) -> Observed:
        self._seen = False
        try:
            snapshot = Snapshot.of(self._switch)
        except WeftError as error:
            self._switch.reconnect()
            if error.kind is not Kind.UNREACHABLE:
                raise
            snapshot = Snapshot.of(self._switch)  # the database was started anew, perhaps
        recorded = segment.read(self._switch, snapshot.bridges)
        tags = {key: tag for key, (_, tag) in recorded.items()}
        ports, port_flaws = port.read(self._switch, snapshot, tags)
        found = tunnel.read(self._switch, snapshot.bridges.get(TUNNELS))
        self._outlets = Outlets.of(self._switch, snapshot.bridges)
        numbers = Ports(segment.patch(snapshot.bridges) or 0, self._outlets.tunnels)
        rows = flows.read(snapshot.flows, numbers, self._switch.cluster)
        self._ports = ports
        self._held = {
            key: Held(each, tag, rows.get(tag, flows.Rows()).tables(), self._local(key))
            for key, (each, tag) in recorded.items()
        }
        self._flows = tables.own(snapshot.flows, self._switch.cluster)
        self._ours = self._devices(snapshot)
        if "_events" in self.__dict__:
            self._events.learn(*self._ours)
        relayed = {key for key, held in self._held.items() if held.segment.relayed}
        self._punt.learn(*local_devices(self._switch, snapshot, ports.values(), relayed))
        self._seen = True
        self._told = snapshot.told
        needed = self._needed()
        refused = self._next_hops.know([vtep for _, vtep in needed], snapshot.told)
        used = Ports(numbers.patch, {remote: numbers.tunnels[remote] for remote in needed if remote in numbers.tunnels})
        target = tables.wanted(self._held.values(), used, self._switch.cluster)
        flaws: dict[SegmentKey | str | RouterDevice, tuple[str, ...]] = dict(port_flaws.items())
        wrong = {to: f"ovs-vswitchd takes no route to {to[1]}" for to in needed if to[1] in refused}
        wrong |= tunnel.wrong(found, needed)
        flaws |= dict(tables.flaws(self._held, self._flows, target, wrong).items())
        shared = tuple(segment.bridge_flaws(self._switch, snapshot)) if self._held else ()
        for key, held in self._held.items():
            more = (*shared, *underlay.flaws(self._switch, snapshot, held.segment.vtep))
            if more:
                flaws[key] = (*flaws.get(key, ()), *more)
        return Observed(
            {key: held.segment for key, held in self._held.items()},
            {key: held.tables for key, held in self._held.items()},
            ports,
            flaws,
            {key: seen for key, tag in tags.items() if (seen := tables.learned(rows.get(tag, flows.Rows())))},
        )

    def _devices(self, snapshot: Snapshot) -> tuple[dict[int, SegmentKey], int]:
        """Indexes of the devices of local ports, with their segments, and of the device under the VTEP."""
        by_name = {port.device(self._switch, each): each.segment for each in self._ports.values()}
        found = {snapshot.links[name].index: key for name, key in by_name.items() if name in snapshot.links}
        underlay = snapshot.links.get(UNDERLAY)
        return found, underlay.index if underlay else 0

    def _local(self, key: SegmentKey) -> frozenset[str]:
        return frozenset(each.mac for each in self._ports.values() if each.segment == key and each.mac)

    # Apply

    def apply(self, operations: Sequence[Operation]) -> Applied:
        if not self._seen:
            self.observe()
        self._outlets = None
        done: list[Operation] = []
        failed: Failed = []
        unwritten: list[Operation] = []  # done, but for their flows
        for kind, run in groupby(operations, _phase):
            if kind is DropPort or kind is DropSegment:
                self._write(unwritten, done, failed)
            if kind is PutPort:
                self._put_ports([each for each in run if isinstance(each, PutPort)], unwritten, failed)
            elif kind is DropSegment:
                self._drop_segments([each for each in run if isinstance(each, DropSegment)], done, failed)
            elif kind is DropPort:
                self._drop_ports([each for each in run if isinstance(each, DropPort)], unwritten, failed)
            else:
                for operation in run:
                    if error := _attempt(operation, self._do):
                        failed.append((operation, error))
                    else:
                        unwritten.append(operation)
        self._write(unwritten, done, failed)
        return Applied(tuple(done), tuple(failed))

    def _do(self, operation: Operation) -> None:
        match operation:
            case PutSegment(wanted, _, rebuild):
                segment.check(wanted)
                underlay.put(self._switch, wanted.vtep, f"network {wanted.network}")
                self._unresolved = True  # br-phy may be a new device
                bridges = self._switch.db.bridges()
                if missing := segment.put_bridges(self._switch, bridges):
                    self._switch.db.commit(*missing)
                    bridges = self._switch.db.bridges()
                there = self._held.get(wanted.key)
                tag = there.tag if there else segment.free_tag({held.tag for held in self._held.values()})
                self._switch.db.transact(segment.record(bridges[TUNNELS].uuid, wanted, tag))
                if there and (rebuild or (there.segment.learning and not wanted.learning)):
                    self._forget.add(tag)
                kept = there.tables if there and not rebuild else Tables.none()
                self._held[wanted.key] = Held(wanted, tag, kept, self._local(wanted.key))
            case PutRows() | DropRows():
                row_key = operation.key
                held = self._held.get(row_key) if isinstance(row_key, SegmentKey) else None
                if held is None or not isinstance(row_key, SegmentKey):
                    raise WeftError(Kind.FAILED, "the segment is missing", where=str(row_key))
                self._held[row_key] = replace(held, tables=tables.changed(held.tables, operation))

    def _drop_segments(self, run: list[DropSegment], done: list[Operation], failed: Failed) -> None:
        """Flows first, then the records, and with the last of them the bridges."""
        gone = {each.segment.key: held for each in run if (held := self._held.pop(each.segment.key, None))}
        self._forget |= {held.tag for held in gone.values()}
        try:
            bridges = self._switch.db.bridges()
            if bridge := self._switch.own(bridges, TUNNELS):
                forget = [segment.forget(bridge.uuid, key) for key in gone]
                if self._held:
                    self._flush()
                    self._switch.db.transact(*forget)
                else:
                    tables.write(self._switch, self._flows, set(), self._forget)
                    self._flows, self._forget = set(), set()
                    self._switch.db.commit(*forget, *segment.drop_bridges(self._switch, bridges))
                    self._next_hops.want(())
                    underlay.drop(self._switch)
        except WeftError as error:
            failed += [(operation, error) for operation in run]
            self._seen = False
        else:
            done += run

    def _put_ports(self, run: list[PutPort], done: list[Operation], failed: Failed) -> None:
        """The devices, then all rows of the database in one transaction, then what devices can be told after."""
        ready: list[PutPort] = []
        for operation in run:
            if error := _attempt(operation, self._prepare):
                failed.append((operation, error))
            else:
                ready.append(operation)
        try:
            bridges = self._switch.db.bridges()
            changes = [
                change
                for each in ready
                for change in port.rows(self._switch, bridges, each.port, self._held[each.port.segment].tag)
            ]
            self._switch.db.commit(*changes)
            self._switch.control("fdb/flush", INTEGRATION)  # where it was until now, others have learned
        except WeftError as error:
            failed += [(each, error) for each in ready]
            return
        for operation in ready:
            if refusal := _attempt(operation, lambda each: port.finish(self._switch, each.port)):
                failed.append((operation, refusal))
                continue
            old = self._ports.get(operation.port.name)
            self._ports[operation.port.name] = operation.port
            for key in {operation.port.segment, *((old.segment,) if old else ())}:
                if key in self._held:
                    self._held[key] = replace(self._held[key], local=self._local(key))
            done.append(operation)

    def _prepare(self, operation: PutPort) -> None:
        if operation.port.segment not in self._held:
            raise WeftError(Kind.FAILED, "its segment is not here", where=f"port {operation.port.name}")
        port.prepare(self._switch, operation.port)

    def _drop_ports(self, run: list[DropPort], done: list[Operation], failed: Failed) -> None:
        try:
            port.drop(self._switch, [operation.port for operation in run])
        except WeftError as error:
            failed += [(operation, error) for operation in run]
            return
        for operation in run:
            self._ports.pop(operation.port.name, None)
            key = operation.port.segment
            if key in self._held:
                self._held[key] = replace(self._held[key], local=self._local(key))
        done += run

    def _write(self, unwritten: list[Operation], done: list[Operation], failed: Failed) -> None:
        """The flows that come of what was done so far; if they are refused, all of it failed."""
        if not unwritten:
            return
        try:
            if self._held:
                self._flush()
        except WeftError as error:
            failed += [(operation, error) for operation in unwritten]
            self._seen = False
        else:
            done += unwritten
        unwritten.clear()

    def _flush(self) -> None:
        """Tunnels, then flows in one bundle, then the tunnels that nobody needs any more."""
        needed = self._needed()
        bridge = self._bridge()
        if changes := tunnel.put(self._switch, bridge, needed):
            self._switch.db.commit(*changes)
            bridge = self._bridge()
        found = tunnel.read(self._switch, bridge)
        if wrong := tunnel.wrong(found, needed):
            remote, what = next(iter(wrong.items()))
            raise WeftError(Kind.FAILED, what, where=f"tunnel to {remote[1]}", remedy="see ovs-vsctl show")
        numbers = tunnel.numbers(found)
        patch = segment.patch({TUNNELS: bridge})
        if patch is None:
            raise WeftError(Kind.FAILED, "the patch to br-int is not open", where=TUNNELS, remedy="see ovs-vsctl show")
        used = Ports(patch, {remote: numbers[remote] for remote in needed})
        target = tables.wanted(self._held.values(), used, self._switch.cluster)
        tables.write(self._switch, self._flows, target, self._forget)
        if "_events" in self.__dict__:
            self._events.settle()
        self._flows, self._forget = target, set()
        if changes or self._unresolved:
            self._unresolved = False
            self._next_hops.want([vtep for _, vtep in needed])
        if gone := [remote for remote in found if remote not in needed]:
            tables.forget_tunnels(self._switch, [numbers[remote] for remote in gone if remote in numbers])
            self._switch.db.commit(*tunnel.drop(bridge, [found[remote] for remote in gone]))

    def _needed(self) -> dict[TunnelPort, str]:
        """Tunnels to → from which address; "" where routes that were told decide it (weft.l2.ovs.told_routes)."""
        found = tables.remotes(self._held.values())
        return found if self._told.system else dict.fromkeys(found, "")

    def _bridge(self) -> Bridge:
        bridge = self._switch.own(self._switch.db.bridges(), TUNNELS)
        if bridge is None:
            raise WeftError(Kind.FAILED, "it is missing", where=TUNNELS)
        return bridge

    # The rest of the seam

    def events(self) -> Sequence[Event]:
        return self._events.read()

    def events_fd(self) -> int | None:
        return self._events.fileno()

    def watch(self, segments: Collection[SegmentKey]) -> None:
        if not self._seen and segments:
            self.observe()  # ports are known by their devices
        self._punt.watch(segments)

    def punt(self) -> Sequence[Punted | Heard]:
        return self._punt.read()

    def punt_fd(self) -> int | None:
        return self._punt.fileno()

    def speaker(self, segment: SegmentKey) -> str:
        """A MAC of our own, which br-tun sends nowhere."""
        if segment not in self._held:
            raise WeftError(Kind.NOT_FOUND, "the segment is not here", where=str(segment))
        return flows.speaker(self._switch.cluster)

    def inject(self, segment: SegmentKey, frame: bytes, to: ToPorts | ToTunnels) -> None:
        if segment not in self._held:
            self.observe()
        if self._outlets is None:
            self._outlets = Outlets.of(self._switch, self._switch.db.bridges())
        frames.inject(self._switch, self._held.get(segment), self._outlets, frame, to)

    def counters(self) -> Counters:
        return frames.counters(self._switch, self._held, self._ports)

    def flow_rows(self) -> list[dict[str, str]]:
        """Flows of br-tun with our names beside their numbers (weft.l2.datapath.FlowTables)."""
        if not self._seen:
            self.observe()
        bridges = self._switch.db.bridges()
        if not self._held:
            return []
        numbers = tunnel.numbers(tunnel.read(self._switch, bridges.get(TUNNELS)))
        ports = Ports(segment.patch(bridges) or 0, numbers)
        return show.rows(self._switch.flows.counted(), self._held, ports, self._switch.cluster)

    def traps(self) -> list[Trap]:
        """What goes wrong with Open vSwitch in the field, looked for here (for `weft doctor`). Raises WeftError."""
        observed = self.observe()
        snapshot = Snapshot.of(self._switch)
        vteps = {held.segment.vtep for held in self._held.values()}
        remotes = [vtep for _, vtep in self._needed()]
        flaws = [flaw for name in observed.ports for flaw in observed.flaws.get(name, ())]
        return [trap for vtep in sorted(vteps) for trap in traps(self._switch, snapshot, vtep, remotes, flaws)]

    def close(self) -> None:
        for name in ("_events", "_punt"):
            if opened := self.__dict__.pop(name, None):
                opened.close()
        self._next_hops.close()
        self._switch.close()


def _phase(operation: Operation) -> type | None:
    return type(operation) if isinstance(operation, PutPort | DropPort | DropSegment) else None


def _attempt(operation: Operation, work: Callable[..., None]) -> WeftError | None:
    try:
        work(operation)
    except WeftError as error:
        return error
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        return WeftError(Kind.FAILED, what, where=str(operation).splitlines()[0])
    return None
