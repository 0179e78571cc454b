"""The front: it forwards nothing, and is one forwarder to the agent. Its workers forward, each its own segments.

Changes go to the worker of their segment; answers are put together. A worker is started when the first segment is
placed on it, and ends some time after the last one has gone. One that ends by itself takes its segments with it: the
agent is told, sees them no more, and makes them again. The kernel takes its time to remove many devices; the networks
of other workers do not wait for that.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

import msgspec
import structlog

from weft.l2.user import control
from weft.l2.user.forwarding import Tell
from weft.l2.user.front.child import Child
from weft.l2.user.front.hearing import Hearing
from weft.l2.user.front.placing import Placing, Thing
from weft.l2.user.front.sockets import Name, Sockets, drain, named
from weft.l2.user.front.strays import read
from weft.l2.user.server import IDLE
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.netlink import outside
from weft.plan.port import LocalPort
from weft.plan.segment import Segment

_GRACE = 1.0  # seconds that an apply waits for workers that end, before it fails for their successors

log = structlog.get_logger("weft.user")
A = TypeVar("A", control.State, control.Counts)
Share = list[tuple[int, control.Step]]  # steps with their places in the request


class Front:
    """Implements weft.l2.user.forwarding.Forwarding. What it remembers is what workers have.

    `inherited`: a descriptor that each worker keeps open as long as it lives.
    """

    def __init__(self, cluster: str, workers: int, inherited: int) -> None:
        self._cluster, self._workers, self._inherited = cluster, range(workers), inherited
        self._lock = threading.RLock()  # a worker's end comes by a thread of its own
        self._placing = Placing(workers)
        self._held: dict[SegmentKey, Segment] = {}
        self._coming: dict[SegmentKey, Segment] = {}  # while a worker is told
        self._ports: dict[str, LocalPort] = {}
        self._tunnels: set[str] = set()
        self._sockets = Sockets(workers, outside.lender())
        self._children: dict[int, Child] = {}
        self._ending: set[Child] = set()
        self._waits = 0.0  # until when an apply waits for those
        self._hearing = Hearing()
        self._drops: Counter[str] = Counter()  # of the front, and of workers that had nothing left to do
        self._tell: Tell = lambda _: None

    @property
    def busy(self) -> bool:
        return bool(self._placing)

    def start(self, tell: Tell) -> None:
        self._tell = tell

    def tick(self, now: float) -> None:
        """Workers without a network end, as a forwarder does. Waits for none of them."""
        for child in list(self._children.values()):
            if self._placing.load(child.number):
                child.worked = now
            elif now - child.worked > IDLE:
                child.worked = now
                threading.Thread(target=self._retire, args=(child,), daemon=True).start()

    def _retire(self, child: Child) -> None:
        with self._lock:
            if self._children.get(child.number) is not child or self._placing.load(child.number):
                return
            if isinstance(counts := child.ask(control.Count()), control.Counts):
                self._drops.update(counts.drops)
            del self._children[child.number]  # whose end is not told
            child.send(control.Stop())
        child.stopped()

    def close(self) -> None:
        with self._lock:
            children, self._children = self._children, {}  # whose end is not told
            for child in children.values():
                child.send(control.Stop())
            for child in children.values():
                child.stopped()
            self._sockets.tidy({})

    # Changes

    def apply(self, steps: tuple[control.Step, ...]) -> control.Done:
        """Steps of one kind, which stand together in a plan's order, are made by all workers at the same time."""
        failures: list[control.Failure] = []
        with self._lock:
            self._waits = time.monotonic() + _GRACE
            for _, alike in itertools.groupby(enumerate(steps), key=lambda each: type(each[1])):
                failures += self._make(list(alike))
        return control.Done(tuple(sorted(failures, key=lambda failure: failure.step)))

    def _make(self, steps: Share) -> list[control.Failure]:
        failures: list[control.Failure] = []
        shares: dict[int, Share] = {}
        for index, step in steps:
            try:
                worker = self._prepare(step)
            except (WeftError, OSError) as error:
                self._made(step, done=False)
                failures.append(control.Failure.of(error, index))
            else:
                shares.setdefault(worker, []).append((index, step))
        self._sockets.steer(self._placing, self._needs())
        requests = {worker: control.Apply(tuple(step for _, step in share)) for worker, share in shares.items()}
        answers = self._ask(requests)
        for worker, share in shares.items():
            failed = _failed(share, answers.get(worker), worker)
            failures += failed.values()
            for index, step in share:
                self._made(step, done=index not in failed)
        self._tidy()
        return failures

    def _prepare(self, step: control.Step) -> int:
        """The worker for a step, which then has all that it needs. Raises WeftError, OSError."""
        thing = _thing(step)
        match step:
            case control.SetSegment(segment):
                worker = self._placing.place(thing)
                child = self._child(worker)
                for name in named(segment):
                    if name not in child.lent:
                        receiver = self._sockets.of(worker, name, f"segment {segment.key}")
                        drain(receiver)  # of what came for one that died
                        child.lend(name, receiver)
                self._coming[segment.key] = segment
                return worker
            case control.SetTunnel():
                worker = self._placing.place(thing)
            case control.SetPort(port):
                worker = self._of(thing)
                there = self._ports.get(port.name)
                if there is not None and self._of(there.segment) != worker:
                    self._make([(0, control.UnsetPort(there))])
            case control.UnsetPort(port) if port.name in self._ports:
                worker = self._of(self._ports[port.name].segment)
            case _:
                worker = self._of(thing)
        self._child(worker)
        return worker

    def _of(self, thing: Thing) -> int:
        """A worker for what is nowhere, too: it says so."""
        there = self._placing.of(thing)
        return min(self._children, default=0) if there is None else there

    def _child(self, worker: int) -> Child:
        """A worker's process, started if need be. Raises WeftError."""
        for before in [each for each in self._ending if each.number == worker]:
            if not before.gone(self._waits):
                what = "its devices are still being removed"
                raise WeftError(Kind.UNREACHABLE, what, where=f"worker {worker} of the forwarder, which ended")
        if worker not in self._children:
            child = Child(worker, self._cluster, self._inherited, self._told, self._pass, self._ended)
            self._children[worker] = child
            self._hearing.add(child)
        return self._children[worker]

    def _made(self, step: control.Step, done: bool) -> None:
        """Remembers what a worker has now."""
        match step:
            case control.SetSegment(segment):
                self._coming.pop(segment.key, None)
                if done:
                    self._held[segment.key] = segment
                elif segment.key not in self._held:
                    self._placing.forget(segment.key)
            case control.UnsetSegment(key) if done:
                self._forget(key)
            case control.SetPort(port) if done:
                self._ports[port.name] = port
            case control.UnsetPort(port) if done:
                self._ports.pop(port.name, None)
            case control.SetTunnel(tunnel):
                if done:
                    self._tunnels.add(tunnel.device)
                elif tunnel.device not in self._tunnels:
                    self._placing.forget(tunnel.device)
            case control.UnsetTunnel(name) if done:
                self._forget(name)

    def _forget(self, thing: Thing) -> None:
        self._placing.forget(thing)
        if isinstance(thing, str):
            self._tunnels.discard(thing)
            return
        self._held.pop(thing, None)
        for name in [name for name, port in self._ports.items() if port.segment == thing]:
            del self._ports[name]

    def _needs(self) -> dict[int, set[Name]]:
        """The sockets that each worker receives by."""
        found: dict[int, set[Name]] = {worker: set() for worker in self._children}
        for segment in (*self._held.values(), *self._coming.values()):
            if (worker := self._placing.of(segment.key)) in found:
                found[worker].update(named(segment))
        return found

    def _tidy(self) -> None:
        needs = self._needs()
        for worker, child in self._children.items():
            child.keep(needs[worker])
        self._sockets.tidy(needs)
        self._sockets.steer(self._placing, needs)

    # Answers

    def observe(self) -> control.State:
        with self._lock:
            found = self._every(control.Observe(), control.State)
            pids = tuple(self._children[worker].pid if worker in self._children else 0 for worker in self._workers)
        segments = itertools.chain.from_iterable(state.segments for state in found)
        return control.State(tuple(segments), tuple(tunnel for state in found for tunnel in state.tunnels), pids)

    def count(self) -> control.Counts:
        with self._lock:
            found = self._every(control.Count(), control.Counts)
        drops = self._drops.copy()
        ports: dict[str, tuple[int, int, int, int]] = {}
        for counts in found:
            ports |= counts.ports
            drops.update(counts.drops)
        segments = itertools.chain.from_iterable(counts.segments for counts in found)
        return control.Counts(ports, tuple(segments), dict(drops))

    def inject(self, request: control.Inject) -> None:
        with self._lock:
            child = self._children.get(self._of(request.key))
            answer = child.ask(request) if child else None
        if isinstance(answer, control.Failure):
            raise answer.error()
        if answer is None:
            raise WeftError(Kind.NOT_FOUND, "the segment is not here", where=f"segment {request.key}")

    def watch(self, segments: frozenset[SegmentKey]) -> int:
        with self._lock:
            return self._hearing.watch(segments, self._children.values())

    def tell(self, client: socket.socket, turn: int) -> None:
        with self._lock:
            self._hearing.tell(client, turn, self._children.values())
        if self._hearing.wait(client, turn):
            self.watch(frozenset())

    def _every(self, request: control.Request, kind: type[A]) -> list[A]:
        """The answers of all workers; of one that ends meanwhile there is none."""
        answers = self._ask(dict.fromkeys(self._children, request))
        return [answer for answer in answers.values() if isinstance(answer, kind)]

    def _ask(self, requests: Mapping[int, control.Request]) -> dict[int, control.Answer | None]:
        """All are asked before the first one is waited for. One that gives no answer has ended."""
        asked = {worker: self._children[worker] for worker in requests}
        for worker, child in asked.items():
            child.send(requests[worker])
        answers = {worker: child.answer() for worker, child in asked.items()}
        for worker, child in asked.items():
            if answers[worker] is None:
                self._lose(child)
        return answers

    # From the workers

    def _told(self, alert: control.Alert) -> None:
        self._tell(alert)

    def _pass(self, message: bytes) -> None:
        """Datagrams that another worker got."""
        stray = read(message)
        owner = self._sockets.owner(stray.vtep, stray.port, stray.vni)
        try:
            self._children[-1 if owner is None else owner].strays.send(message, socket.MSG_DONTWAIT)
        except (KeyError, OSError):
            self._drops["queue full"] += -(-len(stray.octets) // stray.size)

    def _lose(self, child: Child) -> None:
        """It ends, and has nothing any more."""
        with self._lock:
            if self._children.get(child.number) is child:
                del self._children[child.number]
                self._ending.add(child)
                for thing in self._placing.on(child.number):
                    self._forget(thing)
                self._tidy()

    def _ended(self, child: Child) -> None:
        self._lose(child)
        child.close()
        with self._lock:
            if child not in self._ending:
                return
            self._ending.remove(child)
        log.warning("a worker ended", worker=child.number, pid=child.pid)
        self._tell(control.Alert(f"worker {child.number} of the forwarder ended", None))


def _thing(step: control.Step) -> Thing:
    """What a step is about."""
    match step:
        case control.SetSegment(segment):
            return segment.key
        case control.SetPort(port) | control.UnsetPort(port):
            return port.segment
        case control.SetTunnel(tunnel):
            return tunnel.device
        case control.UnsetTunnel(device) | control.SetRoutes(device) | control.UnsetRoutes(device):
            return device
        case _:
            return step.key


def _failed(share: Share, answer: control.Answer | None, worker: int) -> dict[int, control.Failure]:
    """Failures by the steps' places in the whole request."""
    if isinstance(answer, control.Done):
        return {
            index: msgspec.structs.replace(failure, step=index)
            for failure in answer.failures
            for index in (share[failure.step][0],)
        }
    if not isinstance(answer, control.Failure):
        error = WeftError(Kind.UNREACHABLE, "ended while it was asked", where=f"worker {worker} of the forwarder")
        answer = control.Failure.of(error)
    return {index: msgspec.structs.replace(answer, step=index) for index, _ in share}
