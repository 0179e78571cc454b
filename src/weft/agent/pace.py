"""When an agent looks at its whole host again, though nobody told of anything, and when it tries again what has failed.

A look is due some time after the last one, whatever happens in between: an agent that always has something to do looks
as often as one that rests. Agents that were started together do not look together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

RESYNC = 60.0  # seconds between full observations when nothing happens
_SHARE, _LONGEST = 400, 5  # looks again after so many times as long as the last look took, at most so many RESYNCs
_SPREAD = 0.9
_BACKOFF = (0.2, 10.0)  # seconds: first and longest pause before something is tried again


class Pace:
    """Times are seconds; `resync`: the shortest between two looks, `now`: the monotonic clock."""

    def __init__(self, resync: float = RESYNC, now: Callable[[], float] = time.monotonic) -> None:
        self.resync = resync
        self._now = now
        self._spread = random.uniform(_SPREAD, 1.0)
        self._looked, self._took = now(), 0.0
        self._failures = 0

    def looked(self, took: float) -> None:
        """The whole host was observed, and what followed from that is done."""
        self._looked, self._took = self._now(), took

    def left(self) -> float:
        """Until a look is due; not above 0: it is."""
        rest = min(max(self.resync, _SHARE * self._took), _LONGEST * self.resync)
        return self._looked + self._spread * rest - self._now()

    def pause(self, ok: bool) -> float:
        """Until there is something to do, after work that went well or not."""
        self._failures = 0 if ok else self._failures + 1
        return self.left() if ok else min(_BACKOFF[0] * 2.0 ** min(self._failures - 1, 9), _BACKOFF[1])
