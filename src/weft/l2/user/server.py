"""The forwarder's side of the control socket: one thread a connection, one request at a time.

A forwarder ends when it forwards nothing and nobody is connected, when the name of its host's namespace is gone, or
when it is told to. The end of an agent is none of these.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from weft.l2.user import control
from weft.l2.user.forwarding import Forwarding
from weft.model.errors import Kind, WeftError

IDLE = 5.0  # seconds without segments, ports and connections
_TICK = 0.5

log = structlog.get_logger("weft.user")


class Listener(Protocol):
    """Where connections come from."""

    def accept(self) -> tuple[socket.socket, object]:
        """The next one. Raises TimeoutError."""

    def settimeout(self, value: float) -> None:
        """How long `accept` waits, in seconds."""


class Server:
    """The control socket, the forwarding behind it, and the threads that serve connections."""

    def __init__(self, forwarding: Forwarding, listener: Listener) -> None:
        self._forwarding = forwarding
        self._listener = listener
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._listening: set[socket.socket] = set()
        self._turns: dict[socket.socket, int] = {}
        self._wished = 0
        self._stopping = False

    def run(self, namespace: Path | None) -> None:
        """Serves until there is nothing to serve for. `namespace`: the name that the host's namespace has, if any."""
        self._forwarding.start(self._tell_all)
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
            self._forwarding.tick(now)
            if namespace and not _same(namespace, mine):
                log.info("the host's namespace is gone", namespace=str(namespace))
                break
            if self._forwarding.busy or self._clients:
                idle = now
            elif now - idle > IDLE:
                break
        with self._lock:
            self._forwarding.close()

    def _serve(self, client: socket.socket) -> None:
        try:
            while (head := control.exactly(client, 4)) and (
                body := control.exactly(client, control.body_length(head))
            ) is not None:
                answer = self._answer(client, body)
                client.sendall(control.pack(answer))
                if self._stopping:
                    return
                if (turn := self._turns.pop(client, None)) is not None:
                    self._forwarding.tell(client, turn)
                    return
        except (OSError, ValueError) as error:
            log.info("connection", error=str(error))
        finally:
            self._listening.discard(client)
            self._clients.discard(client)
            client.close()

    def _answer(self, client: socket.socket, body: bytes) -> control.Answer:
        try:
            request = control.unpack_request(body)
            if isinstance(request, control.Ping):
                return control.Done()
            with self._lock:
                return self._done(client, request)
        except (msgspec.DecodeError, OSError) as error:
            return control.Failure(Kind.FAILED, str(error), "forwarder", "")
        except WeftError as error:
            return control.Failure.of(error)

    def _done(self, client: socket.socket, request: control.Request) -> control.Answer:
        """Raises WeftError, OSError."""
        forwarding = self._forwarding
        match request:
            case control.Apply(steps):
                return forwarding.apply(steps)
            case control.Observe():
                return msgspec.structs.replace(forwarding.observe(), wished=self._wished)
            case control.Inject() as request:
                forwarding.inject(request)
            case control.Count():
                return forwarding.count()
            case control.Listen(workers):
                self._wished = workers or self._wished
                self._listening.add(client)
            case control.Watch(segments):
                self._turns[client] = forwarding.watch(frozenset(segments))
            case control.Stop():
                self._stopping = True
        return control.Done()

    def _tell_all(self, alert: control.Alert) -> None:
        """Tells whoever listens."""
        message = control.pack(alert)
        for client in list(self._listening):
            try:
                client.send(message, socket.MSG_DONTWAIT)
            except OSError:
                self._listening.discard(client)


def _same(namespace: Path, inode: int) -> bool:
    try:
        return namespace.stat().st_ino == inode
    except OSError:
        return False


def listen(path: Path) -> socket.socket:
    """The control socket, which its owner alone may use."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.umask(mask)
    listener.listen(16)
    return listener
