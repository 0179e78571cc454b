"""The workers: threads that wait for ports and sockets and call Egress and Ingress.

One thread serves local ports and the underlay; on request a second one takes the underlay. System calls and numpy let
go of the interpreter's lock, but what both lose by waiting for it is about what the second core gains
(docs/user-vtep.md). A change of what they forward by is made while all stand still: the changer takes the gate, each
worker finishes its batch and waits before the next.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from weft.l2.user.egress import Egress
from weft.l2.user.ingress import Ingress
from weft.l2.user.iptunnel.egress import TunnelEgress
from weft.l2.user.iptunnel.ingress import TunnelIngress
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.underlay import Underlay
from weft.l2.user.world import PortState, World

Handler = Callable[[float], None]
_SWEEP = 10.0  # seconds between two sweeps of learned MACs

log = structlog.get_logger("weft.user")


class Worker(threading.Thread):
    """Calls the handler of each readable descriptor; `lost` is told when a handler finds its device gone."""

    def __init__(self, name: str, gate: threading.Lock, lost: Callable[[int, OSError], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._gate, self._lost = gate, lost
        self.busy = threading.Lock()
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def watch(self, fd: int, handler: Handler) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except OSError:  # the device went, and its descriptor with it
                pass

    def run(self) -> None:
        while True:
            ready = self._epoll.poll()
            with self._gate:
                pass  # whoever changes the world holds it
            with self.busy:
                now = time.monotonic()
                for fd, _ in ready:
                    if handler := self._handlers.get(fd):
                        self._call(fd, handler, now)

    def _call(self, fd: int, handler: Handler, now: float) -> None:
        try:
            handler(now)
        except OSError as error:
            self._lost(fd, error)
        except Exception:  # a frame that we have a defect for must not stop the others
            log.exception("frame")


class Engine:
    """The world, and the workers that forward by it. `on_lost`: the device of a port or tunnel is gone."""

    def __init__(self, on_lost: Callable[[PortState | TunnelState], None], threads: int = 1) -> None:
        self.world = World()
        self.egress, self.ingress = Egress(self.world), Ingress(self.world)
        self.tunnel_egress, self.tunnel_ingress = TunnelEgress(), TunnelIngress()
        self._on_lost = on_lost
        self._gate = threading.Lock()
        self._ports = Worker("ports", self._gate, self._lost)
        self._tunnels = Worker("tunnels", self._gate, self._lost) if threads > 1 else self._ports
        self._workers = {self._ports, self._tunnels}
        self._swept = 0.0

    def start(self) -> None:
        for worker in self._workers:
            worker.start()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nothing is forwarded inside the block."""
        with self._gate:
            for worker in self._workers:
                worker.busy.acquire()
            try:
                yield
            finally:
                for worker in self._workers:
                    worker.busy.release()

    def watch_port(self, port: PortState) -> None:
        self._ports.watch(port.device.fd, lambda now: self.egress.drain(port, now))

    def unwatch_port(self, port: PortState) -> None:
        self._ports.unwatch(port.device.fd)

    def watch_receiver(self, underlay: Underlay, receiver: socket.socket) -> None:
        self._tunnels.watch(receiver.fileno(), lambda now: self.ingress.drain(underlay, receiver, now))

    def unwatch_receiver(self, receiver: socket.socket) -> None:
        self._tunnels.unwatch(receiver.fileno())

    def watch_tunnel(self, state: TunnelState) -> None:
        self._ports.watch(state.device.fd, lambda now: self.tunnel_egress.drain(state, now))

    def unwatch_tunnel(self, state: TunnelState) -> None:
        self._ports.unwatch(state.device.fd)

    def watch_tunnel_socket(self, state: TunnelState) -> None:
        self._tunnels.watch(state.underlay.unicast.fileno(), lambda now: self.tunnel_ingress.drain(state, now))

    def sweep(self, now: float) -> None:
        """Forgets learned MACs that are too old; called now and then."""
        if now - self._swept >= _SWEEP:
            self._swept = now
            for state in list(self.world.segments.values()):
                self.world.ears.gone(state.segment.key, state.switch.expire(now))

    def _lost(self, fd: int, error: OSError) -> None:
        devices: list[PortState | TunnelState] = [*self.world.ports.values(), *self.world.tunnels.values()]
        lost = next((each for each in devices if each.device.fd == fd), None)
        if lost is None:
            return
        self._ports.unwatch(fd)
        lost.gone = f"its device is gone: {(error.strerror or '').lower()}"
        self._on_lost(lost)
