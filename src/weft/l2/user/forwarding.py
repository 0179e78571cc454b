"""What forwards, as the control socket sees it: this process itself, or others behind it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from weft.l2.user import control
from weft.model.network import SegmentKey

Tell = Callable[[control.Alert], None]


class Forwarding(Protocol):
    """Used by one thread at a time, but for `tell`."""

    @property
    def busy(self) -> bool:
        """Whether anything is forwarded."""

    def start(self, tell: Tell) -> None:
        """`tell` is called, by any thread, when something of ours changed by itself."""

    def tick(self, now: float) -> None:
        """Called now and then."""

    def close(self) -> None:
        """Ends forwarding, and removes what would outlive it."""

    def apply(self, steps: tuple[control.Step, ...]) -> control.Done:
        """Makes changes; each step fails by itself."""

    def observe(self) -> control.State:
        """What is there."""

    def count(self) -> control.Counts:
        """What was carried and dropped."""

    def inject(self, request: control.Inject) -> None:
        """Puts a frame into a segment. Raises WeftError."""

    def watch(self, segments: frozenset[SegmentKey]) -> int:
        """From now on these are heard, for the caller, whose turn is returned; whoever watched before is dismissed."""

    def tell(self, client: socket.socket, turn: int) -> None:
        """Hands over what is heard, until the client is gone or another one watches. Raises OSError."""
