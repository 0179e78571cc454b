"""The agent's side of the punt: a connection over which the forwarder tells what is said.

Each watch has a connection of its own; a new one ends the old. One descriptor serves to wait for good.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Collection

import msgspec

from weft.l2.datapath import Heard, Punted
from weft.l2.user import control
from weft.model.errors import WeftError
from weft.model.network import SegmentKey

_ONCE = 1 << 18  # octets that one call reads


class Punt:
    """`connect` gives a new connection to the forwarder, None where none runs."""

    def __init__(self, connect: Callable[[], socket.socket | None]) -> None:
        self._connect = connect
        self._poll = select.epoll()
        self._connection: socket.socket | None = None
        self._pending = bytearray()
        self._watched: tuple[SegmentKey, ...] = ()

    def fileno(self) -> int:
        return self._poll.fileno()

    def watch(self, segments: Collection[SegmentKey]) -> None:
        """Asks anew, whatever was asked before."""
        self._watched = tuple(sorted(segments))
        self._leave()
        self.ensure()

    def ensure(self) -> None:
        """Asks a forwarder that has not been asked yet; called when one may have been started."""
        if self._connection is not None and control.ended(self._connection):
            self._leave()
        if self._connection is not None or not self._watched:
            return
        try:
            connection = self._connect()
        except WeftError:  # it hangs, as whoever asks it is told
            return
        if connection is None:
            return
        try:
            connection.sendall(control.pack(control.Watch(self._watched)))
            answer = control.receive(connection)
        except (OSError, ValueError, msgspec.DecodeError):
            answer = None
        if not isinstance(answer, control.Done):
            connection.close()
            return
        connection.setblocking(False)
        self._connection = connection
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def read(self) -> list[Punted | Heard]:
        """What has come; never blocks."""
        found: list[Punted | Heard] = []
        if self._connection is None:
            return found
        ended = False
        try:
            more = self._connection.recv(_ONCE)
            self._pending += more
            ended = not more
        except BlockingIOError:
            pass
        except OSError:
            ended = True
        for message in control.messages(self._pending):
            if isinstance(message, control.Overheard):
                found += [Heard(*note) for note in map(msgspec.structs.astuple, message.notes)]
                found += [Punted(said.key, said.frame, port=said.port, vtep=said.vtep) for said in message.frames]
        if ended:
            self._leave()
            self.ensure()  # another forwarder may run already
        return found

    def close(self) -> None:
        self._leave()
        self._poll.close()

    def _leave(self) -> None:
        if self._connection is not None:
            self._poll.unregister(self._connection.fileno())
            self._connection.close()
            self._connection = None
        self._pending.clear()
