"""The agent's side of the user datapath: a thin client of the forwarder, which it starts when there is work.

Nothing is remembered here: `observe` asks the forwarder what it holds. No forwarder means that nothing is there, so
that the next diff makes all of it again.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Collection, Sequence
from functools import cached_property

from weft.l2 import names
from weft.l2.datapath import Applied, Counters, Event, Heard, Punted, ToPorts, ToTunnels
from weft.l2.user import control
from weft.l2.user.client import Client
from weft.l2.user.events import Device, Events
from weft.l2.user.facts import facts, slower
from weft.l2.user.punt import Punt
from weft.l2.user.switch import SPEAKER
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.model.node import Facts
from weft.model.port import AttachKind
from weft.netlink import outside
from weft.netlink.namespace import entered
from weft.plan.node import Observed
from weft.plan.operations import Operation, PutPort
from weft.plan.port import LocalPort
from weft.plan.router import RouterDevice
from weft.plan.segment import Segment
from weft.plan.tables import Tables


def _same(name: str) -> str:
    return name


class UserDatapath:
    """Implements weft.l2.datapath.Datapath.

    `namespace`: the named network namespace that the host lives in, None for the process's own. `ports` maps the
    namespace that a port names to the namespace's name on this machine (labs rename them). `workers`: as
    weft.l2.user.client.
    """

    takes_udp_port = True  # what arrives on a segment's UDP port never reaches a vxlan device beside it

    def __init__(
        self,
        cluster: str = "default",
        namespace: str | None = None,
        ports: Callable[[str], str] = _same,
        workers: int | None = None,
    ) -> None:
        self._cluster, self._namespace, self._ports = cluster, namespace, ports
        self._client = Client(cluster, namespace, workers)
        self._punt = Punt(self._client.find)
        self._devices: tuple[Device, ...] = ()  # of local ports, as last observed
        self._underlay = 0  # index of the device that holds the VTEP address

    @cached_property
    def _events(self) -> Events:
        made = Events(self._cluster, self._namespace, self._client)
        made.learn(self._devices, self._underlay)
        return made

    # The six

    def facts(self, node: str, vtep: str) -> Facts:
        found = facts(node, vtep, self._namespace)
        if found.interface and not outside.lender():  # kept when the address goes: it may come back there
            with entered(self._namespace), contextlib.suppress(OSError):
                self._underlay = socket.if_nametoindex(found.interface)
            self._learn()
        return found

    def slower(self) -> dict[str, tuple[str, str]]:
        """Feature that this host lacks, and that only costs speed → what happens without it, and the remedy."""
        with entered(self._namespace):
            return slower()

    def observe(self) -> Observed:
        answer = self._client.ask(control.Observe(), start=False)
        held = answer.segments if isinstance(answer, control.State) else ()
        segments: dict[SegmentKey, Segment] = {}
        tables: dict[SegmentKey, Tables] = {}
        learned: dict[SegmentKey, Tables] = {}
        ports: dict[str, LocalPort] = {}
        flaws: dict[SegmentKey | str | RouterDevice, tuple[str, ...]] = {}
        for each in held:
            key = each.segment.key
            segments[key], tables[key] = each.segment, control.plan_tables(each.tables)
            found = control.plan_tables(each.learned)
            if len(found.fdb):
                learned[key] = found
            ports |= {port.name: port for port in each.ports}
            flaws |= {name or key: found for name, found in each.flaws.items()}
        self._devices = tuple(device for port in ports.values() if (device := self._device(port)))
        self._learn()
        return Observed(segments, tables, ports, flaws, learned)

    def _device(self, port: LocalPort) -> Device | None:
        """The device that is judged by what the plan says of the port."""
        match port.attach.kind:
            case AttachKind.HOST:
                return None, names.bridge(port.segment), port.segment
            case AttachKind.NAMESPACE:
                return self._ports(port.attach.target), port.attach.interface, port.segment
            case AttachKind.TAP:
                return None, port.attach.target, port.segment
        return None

    def _learn(self) -> None:
        if "_events" in self.__dict__:  # somebody listens
            self._events.learn(self._devices, self._underlay)

    def apply(self, operations: Sequence[Operation]) -> Applied:
        if not operations:
            return Applied()
        targets = {o.port.name: self._ports(o.port.attach.target) for o in operations if isinstance(o, PutPort)}
        failed = self._client.change(tuple(control.step(each, targets) for each in operations))
        self._punt.ensure()
        return Applied(
            tuple(each for index, each in enumerate(operations) if index not in failed),
            tuple((operations[index], error) for index, error in failed.items()),
        )

    def events(self) -> Sequence[Event]:
        return self._events.read()

    def events_fd(self) -> int | None:
        return self._events.fileno()

    def watch(self, segments: Collection[SegmentKey]) -> None:
        self._punt.watch(segments)

    def punt(self) -> Sequence[Punted | Heard]:
        return self._punt.read()

    def punt_fd(self) -> int | None:
        return self._punt.fileno()

    def speaker(self, segment: SegmentKey) -> str:
        return SPEAKER.hex(":")

    def inject(self, segment: SegmentKey, frame: bytes, to: ToPorts | ToTunnels) -> None:
        tunnels = isinstance(to, ToTunnels)
        name = to.vtep if isinstance(to, ToTunnels) else to.port
        if self._client.ask(control.Inject(segment, frame, tunnels, name), start=False) is None:
            raise WeftError(Kind.NOT_FOUND, "the segment is not here", where=f"segment {segment}")

    def counters(self) -> Counters:
        answer = self._client.ask(control.Count(), start=False)
        if not isinstance(answer, control.Counts):
            return Counters()
        return Counters(answer.ports, dict(answer.segments), answer.drops)

    def close(self) -> None:
        self._punt.close()
        if "_events" in self.__dict__:
            self.__dict__.pop("_events").close()
        self._client.close()

    def stop(self) -> None:
        """Ends the forwarder, and with it everything that it forwards; none there is no error."""
        self._client.stop()

    @property
    def host(self) -> str | None:
        """The host's namespace."""
        return self._namespace

    @property
    def pid(self) -> int | None:
        """The forwarder's process, None where none runs."""
        return self._client.pid

    def workers(self) -> tuple[tuple[int, ...], int]:
        """The processes that forward, 0 for one that has nothing to do yet, and how many the agent wishes, 0: any."""
        answer = self._client.ask(control.Observe(), start=False)
        return (answer.workers, answer.wished) if isinstance(answer, control.State) else ((), 0)
