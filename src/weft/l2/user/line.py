"""A line to a process that answers requests, by which one that hangs is told from one that works for long.

While an answer is waited for, pings go over a connection of their own, and are answered at once whatever else is being
done. So one that has hung for PATIENCE is known to hang after PATIENCE.
"""

from __future__ import annotations

import contextlib
import socket
import time

from weft.l2.user import control

_LOOKS = 5  # whether it has said something, in one PATIENCE
_PONG = 64  # octets, more than an answer to a ping has


class Line:
    """`asked`, `pinged`: two connections to the process, which end with this. All raise OSError, and TimeoutError where
    it hangs."""

    def __init__(self, asked: socket.socket, pinged: socket.socket) -> None:
        self._asked, self._pinged = asked, pinged
        pinged.setblocking(False)
        self._waits = False  # for the answer to a ping
        self._word = 0.0  # when it last said something

    def send(self, message: bytes) -> None:
        """Asks; the answer is to be read then."""
        self._word = time.monotonic()
        self._ping()
        self._asked.settimeout(control.PATIENCE)
        self._asked.sendall(message)

    def answer(self) -> control.Answer | None:
        """None: the other side hung up. Raises ValueError, msgspec.DecodeError too."""
        self._asked.settimeout(control.PATIENCE / _LOOKS)
        return control.receive(self._asked, self._alive)

    def close(self) -> None:
        self._asked.close()
        self._pinged.close()

    def _alive(self) -> bool:
        self._ping()
        return time.monotonic() - self._word < control.PATIENCE

    def _ping(self) -> None:
        """Takes the answer to the last ping, if it is there, and sends the next."""
        with contextlib.suppress(OSError):  # BlockingIOError: it is not
            if self._waits and self._pinged.recv(_PONG):
                self._waits, self._word = False, time.monotonic()
            if not self._waits:
                self._pinged.sendall(control.pack(control.Ping()))
                self._waits = True
