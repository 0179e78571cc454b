"""What all workers hear, told by each of them to the one who watches, over the one connection: the front has no part
in it, which would cost time. Each message is short enough for the kernel to queue it as a whole (unix_stream_sendmsg in
net/unix/af_unix.c), so those of several workers do not mix.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable

from weft.l2.user import control
from weft.l2.user.front.child import Child
from weft.model.network import SegmentKey

_LOOK = 1.0  # seconds between two looks whether the one who watches is still there


class Hearing:
    """All but `wait` under the front's lock."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._turn = 0
        self._segments: frozenset[SegmentKey] = frozenset()
        self._client: socket.socket | None = None

    def watch(self, segments: frozenset[SegmentKey], children: Iterable[Child]) -> int:
        """From now on these; whoever watched before is dismissed."""
        with self._ready:
            self._turn += 1
            self._segments, self._client = segments, None
            self._ready.notify_all()
        for child in children:
            self.add(child)
        return self._turn

    def tell(self, client: socket.socket, turn: int, children: Iterable[Child]) -> None:
        """The one who watches takes what is heard from now on."""
        if turn == self._turn:
            self._client = client
            for child in children:
                self._hand(child)

    def wait(self, client: socket.socket, turn: int) -> bool:
        """Until another one watches, or nobody does: True."""
        with self._ready:
            while not self._ready.wait_for(lambda: turn != self._turn, _LOOK):
                if control.ended(client):
                    return True
        return False

    def add(self, child: Child) -> None:
        """A worker that did not watch yet."""
        with contextlib.suppress(OSError):
            child.watch(self._segments)
        self._hand(child)

    def _hand(self, child: Child) -> None:
        if self._client is not None:
            with contextlib.suppress(OSError):
                child.tell(self._client)
