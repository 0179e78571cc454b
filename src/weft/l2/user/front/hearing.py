"""What all workers hear, for the one who watches. What waits here is bounded; the rest waits at the workers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterable

import msgspec

from weft.l2.user import control
from weft.l2.user.front.child import Child
from weft.model.network import SegmentKey

_MOST = 16  # messages


class Hearing:
    """As weft.l2.user.ears, to the one who watches."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._turn = 0
        self._segments: frozenset[SegmentKey] = frozenset()
        self._said: deque[control.Overheard] = deque()
        self._connections: list[socket.socket] = []

    def watch(self, segments: frozenset[SegmentKey], children: Iterable[Child]) -> int:
        with self._ready:
            self._turn += 1
            turn, self._segments = self._turn, segments
            left, self._connections = self._connections, []
            self._said.clear()
            self._ready.notify_all()
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for child in children:
            self.add(child)
        return turn

    def add(self, child: Child) -> None:
        """A worker that was started since."""
        if not self._segments:
            return
        with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
            connection = child.connect()
            connection.sendall(control.pack(control.Watch(tuple(sorted(self._segments)))))
            control.receive(connection)
            with self._ready:
                self._connections.append(connection)
            threading.Thread(target=self._read, args=(connection, self._turn), daemon=True).start()

    def take(self, turn: int, patience: float) -> control.Overheard | None:
        with self._ready:
            self._ready.wait_for(lambda: self._said or turn != self._turn, patience)
            if turn != self._turn:
                return None
            said = self._said.popleft() if self._said else control.Overheard((), ())
            self._ready.notify_all()
            return said

    def leave(self, turn: int) -> None:
        if turn == self._turn:
            self.watch(frozenset(), ())

    def _read(self, connection: socket.socket, turn: int) -> None:
        with connection, contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
            while isinstance(said := control.receive(connection), control.Overheard):
                with self._ready:
                    self._ready.wait_for(lambda: len(self._said) < _MOST or turn != self._turn)
                    if turn != self._turn:
                        return
                    self._said.append(said)
                    self._ready.notify_all()
