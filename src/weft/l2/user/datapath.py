"""The agent's side of the user datapath: a thin client of the forwarder, which it starts when there is work.

Nothing is remembered here: `observe` asks the forwarder what it holds. No forwarder means that nothing is there, so
that the next diff makes all of it again.
"""

from __future__ import annotations

import select
import socket
import subprocess
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from weft.l2.datapath import Applied, Counters, Event, Heard, Punted, ToPorts, ToTunnels
from weft.l2.user import control, process
from weft.l2.user.facts import facts
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.model.node import Facts
from weft.netlink import namespace
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
    namespace that a port names to the namespace's name on this machine (labs rename them). `threads` 2: the
    forwarder gives each direction a thread of its own.
    """

    def __init__(
        self,
        cluster: str = "default",
        namespace: str | None = None,
        ports: Callable[[str], str] = _same,
        threads: int = 1,
    ) -> None:
        self._cluster, self._namespace, self._ports, self._threads = cluster, namespace, ports, threads
        self._connection: socket.socket | None = None
        self._alerts: socket.socket | None = None
        self._started: subprocess.Popen[bytes] | None = None
        self._waiting = select.epoll()  # one descriptor for good, whichever forwarder there is
        self._pending = bytearray()

    # The six

    def facts(self, node: str, vtep: str) -> Facts:
        return facts(node, vtep, self._namespace)

    def observe(self) -> Observed:
        answer = self._ask(control.Observe(), start=False)
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
            flaws |= dict(each.flaws.items())
        return Observed(segments, tables, ports, flaws, learned)

    def apply(self, operations: Sequence[Operation]) -> Applied:
        if not operations:
            return Applied()
        targets = {o.port.name: self._ports(o.port.attach.target) for o in operations if isinstance(o, PutPort)}
        answer = self._ask(control.Apply(tuple(control.step(each, targets) for each in operations)), start=True)
        failures = answer.failures if isinstance(answer, control.Done) else ()
        failed = {failure.step: failure.error() for failure in failures}
        return Applied(
            tuple(each for index, each in enumerate(operations) if index not in failed),
            tuple((operations[index], error) for index, error in failed.items()),
        )

    def events(self) -> Sequence[Event]:
        found: list[Event] = []
        if self._alerts is not None:
            try:
                while more := self._alerts.recv(65536, socket.MSG_DONTWAIT):
                    self._pending += more
                self._deafen()
                found.append(Event("the forwarder ended"))
            except BlockingIOError:
                pass
            except OSError:
                self._deafen()
                found.append(Event("the forwarder ended"))
        return [*found, *self._told()]

    def events_fd(self) -> int | None:
        self._attach(self._find())
        return self._waiting.fileno()

    def watch(self, segments: Collection[SegmentKey]) -> None:
        """Nothing is handed up: on this datapath endpoints are those that are declared (docs/user-vtep.md)."""

    def punt(self) -> Sequence[Punted | Heard]:
        return ()

    def punt_fd(self) -> int | None:
        return None

    def speaker(self, segment: SegmentKey) -> str:
        raise WeftError(Kind.UNSUPPORTED, "the user datapath probes no host", where=f"segment {segment}")

    def inject(self, segment: SegmentKey, frame: bytes, to: ToPorts | ToTunnels) -> None:
        tunnels = isinstance(to, ToTunnels)
        name = to.vtep if isinstance(to, ToTunnels) else to.port
        if self._ask(control.Inject(segment, frame, tunnels, name), start=False) is None:
            raise WeftError(Kind.NOT_FOUND, "the segment is not here", where=f"segment {segment}")

    def counters(self) -> Counters:
        answer = self._ask(control.Count(), start=False)
        if not isinstance(answer, control.Counts):
            return Counters()
        return Counters(answer.ports, dict(answer.segments), answer.drops)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._deafen()
        self._waiting.close()

    def stop(self) -> None:
        """Ends the forwarder, and with it everything that it forwards; none there is no error."""
        self._deafen()
        self._ask(control.Stop(), start=False)
        self._disconnect()
        if self._started is not None:
            self._started.wait()
            self._started = None

    @property
    def host(self) -> str | None:
        """The host's namespace."""
        return self._namespace

    @property
    def pid(self) -> int | None:
        """The forwarder's process, None where none runs."""
        return process.pid(self._directory())

    # The connections

    def _directory(self) -> Path:
        return process.run_directory(self._cluster, self._namespace)

    def _find(self) -> socket.socket | None:
        """A connection to the forwarder; None where none runs, or the host's namespace is gone."""
        if self._namespace is not None and not namespace.exists(self._namespace):
            return None
        return process.connect(self._directory())

    def _ask(self, request: control.Request, start: bool) -> control.Answer | None:
        """The answer; None where no forwarder runs and none is to be started. Raises WeftError."""
        message = control.pack(request)
        for fresh in (False, True):  # a connection that was there already may have died since
            if self._connection is None:
                fresh = True
                self._attach(self._find())
                if self._connection is None and start:
                    connection, self._started = process.start(
                        self._directory(), self._cluster, self._namespace, self._threads
                    )
                    self._attach(connection)
            if self._connection is None:
                return None
            try:
                self._connection.sendall(message)
                answer = control.receive(self._connection)
            except (OSError, ValueError, msgspec.DecodeError):
                answer = None
            if isinstance(answer, control.Failure):
                raise answer.error()
            if answer is not None:
                return answer
            self._disconnect()
            if fresh:
                break
        if not start:
            return None
        raise WeftError(Kind.UNREACHABLE, "the forwarder ended while it was asked", where="user datapath")

    def _attach(self, connection: socket.socket | None) -> None:
        """Takes a connection, and listens to alerts over a second one."""
        if connection is None or self._connection is not None:
            if connection is not None:
                connection.close()
            return
        self._connection = connection
        if self._alerts is None and (alerts := self._find()):
            try:
                alerts.sendall(control.pack(control.Listen()))
                heard = control.receive(alerts)
            except OSError:  # it is about to end
                heard = None
            if heard is None:
                alerts.close()
                return
            self._alerts = alerts
            self._pending.clear()
            self._waiting.register(alerts.fileno(), select.EPOLLIN)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._started is not None and self._started.poll() is not None:
            self._started = None

    def _deafen(self) -> None:
        if self._alerts is not None:
            self._waiting.unregister(self._alerts.fileno())
            self._alerts.close()
            self._alerts = None

    def _told(self) -> list[Event]:
        """Whole messages among what came over the alert connection."""
        found = []
        while len(self._pending) >= 4:
            end = 4 + control.body_length(self._pending[:4])
            if len(self._pending) < end:
                break
            message = control.unpack_answer(self._pending[4:end])
            del self._pending[:end]
            if isinstance(message, control.Alert):
                found.append(Event(message.what, message.key))
        return found
