"""The loop: a thread that waits for ports and sockets and calls Egress and Ingress.

A change of what it forwards by is made while it stands still: the changer takes the gate, the loop finishes its batch
and waits before the next. More cores need more processes (weft.l2.user.front): a second thread loses to the
interpreter's lock what it gains.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from weft.l2.user.iptunnel.egress import TunnelEgress
from weft.l2.user.iptunnel.ingress import TunnelIngress
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.rx.ingress import Ingress
from weft.l2.user.tx.egress import Egress
from weft.l2.user.underlay import Underlay
from weft.l2.user.world import PortState, World

Handler = Callable[[float], None]
_SWEEP = 10.0  # seconds between two sweeps of learned MACs

log = structlog.get_logger("weft.user")


class Loop(threading.Thread):
    """Calls the handler of each readable descriptor; `lost` is told when a handler finds its device gone."""

    def __init__(self, lost: Callable[[int, OSError], None]) -> None:
        super().__init__(name="forwarding", daemon=True)
        self._lost = lost
        self._gate, self._busy = threading.Lock(), threading.Lock()
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

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nothing is called inside the block."""
        with self._gate, self._busy:
            yield

    def run(self) -> None:
        while True:
            ready = self._epoll.poll()
            with self._gate:
                pass  # whoever changes the world holds it, or would wait for good while batch follows batch
            with self._busy:
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
    """The world, and the loop that forwards by it. `on_lost`: the device of a port or tunnel is gone."""

    def __init__(self, on_lost: Callable[[PortState | TunnelState], None]) -> None:
        self.world = World()
        self.egress, self.ingress = Egress(self.world), Ingress(self.world)
        self.tunnel_egress, self.tunnel_ingress = TunnelEgress(), TunnelIngress()
        self._on_lost = on_lost
        self._loop = Loop(self._lost)
        self.still = self._loop.still
        self._swept = 0.0

    def start(self) -> None:
        self._loop.start()

    def watch_port(self, port: PortState) -> None:
        self._loop.watch(port.device.fd, lambda now: self.egress.drain(port, now))

    def unwatch_port(self, port: PortState) -> None:
        self._loop.unwatch(port.device.fd)

    def watch_receiver(self, underlay: Underlay, receiver: socket.socket) -> None:
        self._loop.watch(receiver.fileno(), lambda now: self.ingress.drain(underlay, receiver, now))

    def unwatch_receiver(self, receiver: socket.socket) -> None:
        self._loop.unwatch(receiver.fileno())

    def watch_tunnel(self, state: TunnelState) -> None:
        self._loop.watch(state.device.fd, lambda now: self.tunnel_egress.drain(state, now))

    def unwatch_tunnel(self, state: TunnelState) -> None:
        self._loop.unwatch(state.device.fd)

    def watch_tunnel_socket(self, state: TunnelState) -> None:
        self._loop.watch(state.underlay.unicast.fileno(), lambda now: self.tunnel_ingress.drain(state, now))

    def watch_other(self, fd: int, handler: Handler) -> None:
        self._loop.watch(fd, handler)

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
        self._loop.unwatch(fd)
        lost.gone = f"its device is gone: {(error.strerror or '').lower()}"
        self._on_lost(lost)
