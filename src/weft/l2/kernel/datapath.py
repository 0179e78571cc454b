"""The kernel's datapath, put together: each operation goes to the file of its kind.

Nothing is remembered that the kernel could tell: `observe` reads everything anew, so that whatever happened to our
devices meanwhile shows as a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby

import numpy as np

from weft.l2.datapath import Applied, Counters, Event, Heard, Punted, ToPorts, ToTunnels
from weft.l2.kernel import facts, frames, port, port_state, segment, tables
from weft.l2.kernel.echo import expected
from weft.l2.kernel.events import HERE, Events, Ours, Place
from weft.l2.kernel.host import Host, Snapshot
from weft.l2.kernel.punt import LocalDevice, Punt
from weft.l2.kernel.standing import Standing, standing
from weft.l2.names import DeviceKind, bridge, key_of, vxlan
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.model.node import Facts
from weft.model.port import AttachKind
from weft.netlink.links import Link
from weft.netlink.neighbor import ROW
from weft.plan.node import Observed
from weft.plan.operations import DropPort, DropRows, DropSegment, Operation, PutPort, PutRows, PutSegment
from weft.plan.port import LocalPort
from weft.plan.router import RouterDevice
from weft.plan.segment import Segment


def _same(name: str) -> str:
    return name


class KernelDatapath:
    """Implements weft.l2.datapath.Datapath.

    `namespace`: the named network namespace that the host lives in, None for the process's own. `ports` maps the
    namespace that a port names to the namespace's name on this machine (labs rename them).
    """

    def __init__(
        self, cluster: str = "default", namespace: str | None = None, ports: Callable[[str], str] = _same
    ) -> None:
        self._host = Host(cluster, namespace, ports)
        self._ours = Ours()  # as last observed
        self._underlay = 0  # index of the device that holds the VTEP address
        self._local: dict[int, LocalDevice] = {}  # devices of ports by index, the same way
        self._waiting: list[Event] = []  # events that were read while applying
        self._standing: dict[SegmentKey, Standing] = {}  # as last observed

    @cached_property
    def _events(self) -> Events:
        made = Events(self._host.cluster, self._host.namespace, self._host.bulk.port, self._host.table)
        made.learn(self._ours)
        made.steady = False  # nobody has listened since that was observed
        made.underlay = self._underlay
        return made

    @cached_property
    def _punt(self) -> Punt:
        return Punt(self._host)

    def facts(self, node: str, vtep: str) -> Facts:
        found = facts.facts(self._host, node, vtep)
        link = self._host.links.get(found.interface) if found.interface else None
        if link:  # kept when the address goes: it may come back there
            self._underlay = link.index
            if "_events" in self.__dict__:
                self._events.underlay = link.index
        return found

    def observe(self) -> Observed:
        snapshot = Snapshot.of(self._host)
        segments, segment_flaws = segment.read(self._host, snapshot)
        ports, port_flaws = port_state.read(self._host, snapshot)
        indexes = {link.name: link.index for link in snapshot.links}
        rows = self._host.bulk.dump_fdb()
        static, learned = tables.read(self._host, segments, indexes, rows, self._host.bulk.dump_neighbors())
        self._ours = _ours(self._host, segments, ports.values(), {link.name: link for link in snapshot.links})
        self._local = _local(self._host, segments, ports.values(), indexes)
        self._standing = standing(self._host.alias, segments, snapshot.links)
        if "_events" in self.__dict__:
            self._events.learn(self._ours)
        if "_punt" in self.__dict__:
            self._punt.learn(self._local, rows)
        flaws: dict[SegmentKey | str | RouterDevice, tuple[str, ...]] = dict(segment_flaws.items())
        flaws |= dict(port_flaws.items())
        return Observed(segments, static, ports, flaws, learned)

    def observe_rows(self, segments: Collection[SegmentKey], before: Observed) -> Observed | None:
        """None where one of them is not as it was last observed, or has routes."""
        if "_events" not in self.__dict__ or not self._events.steady or not before.segments.keys() >= set(segments):
            return None
        static, learned = dict(before.tables), dict(before.learned)
        for key in segments:
            there = self._standing.get(key)
            if there is None or before.segments[key].routed:
                return None
            indexes = {vxlan(key): there.tunnel, bridge(key): there.speaker}
            fdb, neighbors = self._host.bulk.dump_fdb(there.tunnel), self._host.bulk.dump_neighbors(there.speaker)
            learned.pop(key, None)
            for all_, own in zip(
                (static, learned),
                tables.read(self._host, {key: before.segments[key]}, indexes, fdb, neighbors),
                strict=True,
            ):
                all_ |= own
        return replace(before, tables=static, learned=learned)

    def apply(self, operations: Sequence[Operation]) -> Applied:
        if "_events" not in self.__dict__:  # nobody listens
            return self._apply(operations)
        self._waiting += self._events.read()
        self._host.standing = self._standing if self._events.steady else {}
        try:
            return self._apply(operations)
        finally:  # the kernel has told of each operation by the time it has answered
            self._host.standing = {}
            self._waiting += self._events.read(expected(operations))

    def _apply(self, operations: Sequence[Operation]) -> Applied:
        done: list[Operation] = []
        failed: list[tuple[Operation, WeftError]] = []
        for dropping, run in groupby(operations, lambda operation: isinstance(operation, DropPort | DropSegment)):
            if dropping:
                self._drop(tuple(run), done, failed)
            else:
                self._each(run, done, failed)
        return Applied(tuple(done), tuple(failed))

    def _drop(
        self, run: tuple[Operation, ...], done: list[Operation], failed: list[tuple[Operation, WeftError]]
    ) -> None:
        """Ports and segments in one step; if that is refused, one by one, to tell which of them it is."""
        gone: list[Operation] = []
        refused: list[tuple[Operation, WeftError]] = []
        try:
            with self._host.together():
                self._each(run, gone, refused)
        except WeftError:
            self._each(run, done, failed)
        else:
            done += gone
            failed += refused

    def _each(self, run: Iterable[Operation], done: list[Operation], failed: list[tuple[Operation, WeftError]]) -> None:
        for operation in run:
            try:
                self._do(operation)
            except WeftError as error:
                failed.append((operation, error))
            except OSError as error:
                what = (error.strerror or str(error)).lower()
                failed.append((operation, WeftError(Kind.FAILED, what, where=str(operation).splitlines()[0])))
            else:
                done.append(operation)

    def _do(self, operation: Operation) -> None:
        if not isinstance(operation, PutRows | DropRows):
            self._host.standing = {}
        match operation:
            case PutSegment(wanted, _, rebuild):
                segment.put(self._host, wanted, rebuild)
            case DropSegment(gone):
                segment.drop(self._host, gone)
            case PutPort(wanted_port, why):
                port.put(self._host, wanted_port, bool(why))
            case DropPort(gone_port):
                port.drop(self._host, gone_port)
            case PutRows():
                tables.put(self._host, operation)
            case DropRows():
                tables.drop(self._host, operation)
            case _:
                raise WeftError(Kind.UNSUPPORTED, "this layer has no routers", where=str(operation).splitlines()[0])

    def events(self) -> Sequence[Event]:
        waiting, self._waiting = self._waiting, []
        return list(dict.fromkeys((*waiting, *self._events.read())))

    def events_fd(self) -> int | None:
        return self._events.fileno()

    def watch(self, segments: Collection[SegmentKey]) -> None:
        if not self._local and segments:
            self.observe()  # ports are known by their devices
        self._punt.learn(self._local, np.empty(0, ROW))
        self._punt.watch(segments)

    def punt(self) -> Sequence[Punted | Heard]:
        return self._punt.read()

    def punt_fd(self) -> int | None:
        return self._punt.fileno()

    def speaker(self, segment: SegmentKey) -> str:
        """The bridge's own MAC: what is sent to it goes to no port."""
        link = self._host.own(bridge(segment), "bridge")
        if link is None:
            raise WeftError(Kind.NOT_FOUND, "the segment is not here", where=bridge(segment))
        return link.mac

    def inject(self, segment: SegmentKey, frame: bytes, to: ToPorts | ToTunnels) -> None:
        local = {each.port: each.name for each in self._local.values() if each.segment == segment and each.port}
        frames.inject(self._host, segment, frame, to, local)

    def counters(self) -> Counters:
        """In: from the port or from tunnels into the segment. Drops: by the devices, and ARP and ND by nftables."""
        ports: dict[str, tuple[int, int, int, int]] = {}
        segments: dict[SegmentKey, tuple[int, int, int, int]] = {}
        drops: dict[str, int] = {}
        for link in self._host.links.dump():
            alias = self._host.alias(link) if link.alias else None
            if alias is None:
                continue
            rx, rx_octets, tx, tx_octets, rx_dropped, tx_dropped = link.counters
            if alias.kind is DeviceKind.PORT:
                ports[alias.name] = rx, rx_octets, tx, tx_octets
            elif alias.kind in (DeviceKind.TUNNEL, DeviceKind.ROUTED) and (key := key_of(link.name)):
                segments[key] = rx, rx_octets, tx, tx_octets
            elif "port" in alias.details:  # what a bridge sends comes from the host
                ports[alias.details["port"]] = tx, tx_octets, rx, rx_octets
            if rx_dropped + tx_dropped:
                drops[link.name] = rx_dropped + tx_dropped
        suppressed = self._host.suppressed().dropped
        drops |= {f"suppressed {name}": count for name, count in zip(("arp", "nd"), suppressed, strict=False) if count}
        if "_punt" in self.__dict__ and self._punt.dropped:
            drops["punt"] = self._punt.dropped
        return Counters(ports, segments, drops)

    def close(self) -> None:
        self._host.close()
        for name in ("_events", "_punt"):
            if opened := self.__dict__.pop(name, None):
                opened.close()


def _ours(
    host: Host, segments: Mapping[SegmentKey, Segment], ports: Iterable[LocalPort], links: Mapping[str, Link]
) -> Ours:
    """Our devices, the far ends of ports in other namespaces too, with the segment that each belongs to."""
    by_name = {name: key for key in segments for name in (bridge(key), vxlan(key))}
    by_name |= {port.device(host, local): local.segment for local in ports}
    devices: dict[Place, SegmentKey] = {}
    for name, key in by_name.items():
        if link := links.get(name):
            devices[HERE, link.index] = key
            if link.kind == "veth" and link.netnsid != HERE:
                devices[link.netnsid, link.lower] = key
    tunnels = {links[name].index: key for key in segments if (name := vxlan(key)) in links}
    learning = frozenset(key for key, segment in segments.items() if segment.learning)
    return Ours(devices, tunnels, learning, frozenset(key for key, segment in segments.items() if segment.routed))


def _local(
    host: Host, segments: Mapping[SegmentKey, Segment], ports: Iterable[LocalPort], indexes: dict[str, int]
) -> dict[int, LocalDevice]:
    """Devices of local ports by index; a host port has none of its own. Routers (ROUTER/NETWORK) are no hosts."""
    relayed = {key for key, segment in segments.items() if segment.relayed}
    devices = [
        LocalDevice(port.device(host, local), local.segment, local.name, local.segment in relayed)
        for local in ports
        if local.attach.kind is not AttachKind.HOST and ("/" not in local.name or local.segment in relayed)
    ]
    devices += [LocalDevice(vxlan(key), key, "", relay=True) for key in relayed]
    return {indexes[device.name]: device for device in devices if device.name in indexes}
