"""What forwards, as the control socket sees it: this process itself, or others behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from weft.l2.user import control
from weft.model.network import SegmentKey

Tell = Callable[[control.Alert], None]


class Forwarding(Protocol):
    """Used by one thread at a time, but for `take` and `leave`."""

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

    def take(self, turn: int, patience: float) -> control.Overheard | None:
        """What was heard, within so many seconds, maybe nothing; None: another one's turn has come."""

    def leave(self, turn: int) -> None:
        """Nobody watches any more, unless another one's turn has come."""
