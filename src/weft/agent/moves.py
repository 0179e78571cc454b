"""How often a MAC or an IP address has moved: what moves too often is a duplicate or a loop (RFC 7432 section 15.1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Trail:
    place: str
    sequence: int
    times: deque[float] = field(default_factory=deque)


class Moves:
    """Counts moves in a sliding window of `window` seconds; `limit` of them within it are too many.

    A move is a newer record at another place, wherever it was made: every node that has something to do with an
    address counts the same moves.
    """

    def __init__(self, limit: int, window: float) -> None:
        self.limit, self.window = limit, window
        self._trails: dict[Hashable, _Trail] = {}

    def __contains__(self, what: Hashable) -> bool:
        return what in self._trails

    def __len__(self) -> int:
        return len(self._trails)

    def at(self, what: Hashable, place: str, sequence: int, now: float) -> int:
        """`what` is at this place by a record of this sequence; how many moves that makes within the window."""
        trail = self._trails.get(what)
        if trail is None:
            self._trails[what] = _Trail(place, sequence)
            return 0
        if sequence > trail.sequence:
            if place != trail.place:
                trail.times.append(now)
                while len(trail.times) > self.limit:
                    trail.times.popleft()
            trail.place, trail.sequence = place, sequence
        return self._within(trail, now)

    def too_many(self, what: Hashable, now: float) -> bool:
        """Whether one more move would be one too many."""
        trail = self._trails.get(what)
        return trail is not None and self._within(trail, now) >= self.limit - 1

    def forget(self, what: Hashable) -> None:
        self._trails.pop(what, None)

    def prune(self, now: float) -> None:
        """Drops what has not moved for a window."""
        quiet = [what for what, trail in self._trails.items() if not self._within(trail, now)]
        for what in quiet:
            del self._trails[what]

    def _within(self, trail: _Trail, now: float) -> int:
        while trail.times and trail.times[0] <= now - self.window:
            trail.times.popleft()
        return len(trail.times)
