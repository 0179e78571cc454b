"""The forwarder's side of the control socket: one thread a connection, one request at a time.

A forwarder ends when it forwards nothing and nobody is connected, when the name of its host's namespace is gone, or
when it is told to. The end of an agent is none of these.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import structlog

from weft.l2.user import attach, control
from weft.l2.user.changes import Changes
from weft.l2.user.engine import Engine
from weft.l2.user.inject import Injector
from weft.l2.user.iptunnel import device
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.world import PortState
from weft.model.errors import Kind, WeftError
from weft.plan.tables import Table

IDLE = 5.0  # seconds without segments, ports and connections
_TICK = 0.5
_LOOK = 1.0  # seconds between two looks whether one who watches in vain is still there

log = structlog.get_logger("weft.user")


class Server:
    """The control socket, the engine behind it, and the threads that serve connections."""

    def __init__(self, cluster: str, listener: socket.socket, threads: int = 1) -> None:
        self.engine = Engine(self._lost, threads)
        self._changes = Changes(cluster, self.engine)
        self._inject = Injector(self.engine.world)
        self._listener = listener
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._listening: set[socket.socket] = set()
        self._turns: dict[socket.socket, int] = {}
        self._stopping = False

    def run(self, namespace: Path | None) -> None:
        """Serves until there is nothing to serve for. `namespace`: the name that the host's namespace has, if any."""
        self.engine.start()
        mine = namespace.stat().st_ino if namespace else 0
        self._listener.settimeout(_TICK)
        idle = time.monotonic()
        while not self._stopping:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                pass
            else:
                client.setblocking(True)
                self._clients.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()
            now = time.monotonic()
            self.engine.sweep(now)
            if namespace and not _same(namespace, mine):
                log.info("the host's namespace is gone", namespace=str(namespace))
                break
            world = self.engine.world
            if world.segments or world.ports or world.tunnels or self._clients:
                idle = now
            elif now - idle > IDLE:
                break
        self._close()

    def _close(self) -> None:
        with self._lock:
            world = self.engine.world
            steps: list[control.Step] = [control.UnsetTunnel(name) for name in world.tunnels]
            for step in (*steps, *(control.UnsetPort(state.port) for state in world.ports.values())):
                try:
                    self._changes.make(step)
                except (WeftError, OSError) as error:
                    log.warning("end", error=str(error))

    def _serve(self, client: socket.socket) -> None:
        try:
            while (head := _read(client, 4)) and (body := _read(client, control.body_length(head))) is not None:
                with self._lock:
                    answer = self._answer(client, body)
                client.sendall(control.pack(answer))
                if self._stopping:
                    return
                if (turn := self._turns.pop(client, None)) is not None:
                    self._tell(client, turn)
                    return
        except (OSError, ValueError) as error:
            log.info("connection", error=str(error))
        finally:
            self._listening.discard(client)
            self._clients.discard(client)
            client.close()

    def _answer(self, client: socket.socket, body: bytes) -> control.Answer:
        try:
            match control.unpack_request(body):
                case control.Apply(steps):
                    return self._apply(steps)
                case control.Observe():
                    return self._observe()
                case control.Inject() as request:
                    self._inject.put(request)
                case control.Count():
                    return self._count()
                case control.Listen():
                    self._listening.add(client)
                case control.Watch(segments):
                    self._turns[client] = self.engine.world.ears.watch(frozenset(segments))
                    self._remembered()
                case control.Stop():
                    self._stopping = True
        except (msgspec.DecodeError, OSError) as error:
            return control.Failure(Kind.FAILED, str(error), "forwarder", "")
        except WeftError as error:
            return control.Failure.of(error)
        return control.Done()

    def _remembered(self) -> None:
        """Tells the one who watches which local MACs are there already."""
        world, now = self.engine.world, time.monotonic()
        for key in world.ears.watched & world.segments.keys():
            switch = world.segments[key].switch
            if not switch.relayed:
                world.ears.present(key, switch.local(now))

    def _tell(self, client: socket.socket, turn: int) -> None:
        """Hands over what is heard, until the client is gone or another one watches. Raises OSError."""
        ears = self.engine.world.ears
        try:
            while (said := ears.take(turn, _LOOK)) is not None:
                if said.frames or said.notes:
                    client.sendall(control.pack(said))
                elif control.ended(client):
                    return
        finally:
            ears.leave(turn)

    def _apply(self, steps: tuple[control.Step, ...]) -> control.Done:
        failures = []
        for index, step in enumerate(steps):
            try:
                self._changes.make(step)
            except WeftError as error:
                failures.append(control.Failure.of(error, index))
            except OSError as error:
                words = (error.strerror or str(error)).lower()
                failures.append(control.Failure(Kind.FAILED, words, "forwarder", "", index))
        return control.Done(tuple(failures))

    def _observe(self) -> control.State:
        world, now = self.engine.world, time.monotonic()
        self._remembered()
        held = []
        for key, state in world.segments.items():
            ports = [each for each in world.ports.values() if each.port.segment == key]
            flaws = {each.port.name: tuple(_flaws(each)) for each in ports}
            held.append(
                control.Held(
                    state.segment,
                    control.wire_tables(state.tables),
                    control.wire_tables(state.learned(now)),
                    tuple(each.port for each in ports),
                    {name: found for name, found in flaws.items() if found},
                )
            )
        return control.State(tuple(held), tuple(_tunnel(state) for state in world.tunnels.values()))

    def _count(self) -> control.Counts:
        engine = self.engine
        carriers = (engine.egress, engine.ingress, self._inject, engine.tunnel_egress, engine.tunnel_ingress)
        tallies = [carrier.tally for carrier in carriers]

        def columns(kinds: tuple[str, ...]) -> dict[Any, tuple[int, int, int, int]]:
            sums: list[Counter[Any]] = [sum((getattr(t, kind) for t in tallies), Counter()) for kind in kinds]
            names = set().union(*sums)
            return {name: (sums[0][name], sums[1][name], sums[2][name], sums[3][name]) for name in names}

        ports = columns(("port_in", "port_in_octets", "port_out", "port_out_octets"))
        segments = columns(("tunnel_in", "tunnel_in_octets", "tunnel_out", "tunnel_out_octets"))
        world = engine.world
        return control.Counts(
            {name: counts for name, counts in ports.items() if name in world.ports or name in world.tunnels},
            tuple((key, counts) for key, counts in segments.items() if key in world.segments),
            dict(sum((t.drops for t in tallies), Counter({"punt": world.ears.dropped}))),
        )

    def _lost(self, state: PortState | TunnelState) -> None:
        """A worker found a device gone: tells whoever listens."""
        if isinstance(state, PortState):
            told = control.Alert(f"port {state.port.name}: {state.gone}", state.port.segment)
        else:
            told = control.Alert(f"ip tunnel {state.tunnel.device}: {state.gone}", None)
        alert = control.pack(told)
        for client in list(self._listening):
            try:
                client.send(alert, socket.MSG_DONTWAIT)
            except OSError:
                self._listening.discard(client)


def _tunnel(state: TunnelState) -> control.HeldTunnel:
    try:
        found = device.flaws(state)
    except (WeftError, OSError) as error:
        found = (str(error),)
    return control.HeldTunnel(state.tunnel, control.WireRows(Table.ROUTES, state.routes.rows().tobytes()), found)


def _flaws(state: PortState) -> list[str]:
    try:
        return attach.flaws(state)
    except (WeftError, OSError) as error:
        return [str(error)]


def _same(namespace: Path, inode: int) -> bool:
    try:
        return namespace.stat().st_ino == inode
    except OSError:
        return False


def _read(client: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        more = client.recv(min(size - len(parts), 1 << 20))
        if not more:
            return None
        parts += more
    return bytes(parts)


def listen(path: Path) -> socket.socket:
    """The control socket, which its owner alone may use."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(16)
    return listener
