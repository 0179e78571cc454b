"""Whether the store answers, as one node's agent finds: told once for each reason, and asked again after a pause.

Several tasks use the store at the same time, and one fault looks different to each ("no answer", "no word on the
stream"): a reason that was told is not told again before the store has answered.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import structlog

from weft.model.errors import WeftError

_PAUSES = (0.2, 2.0)  # seconds, on average: the first and the longest

log = structlog.get_logger("weft.agent")


def pause(failures: int) -> float:
    """Seconds until the store is tried again after so many failures (≥ 1). Spread, so that a fleet does not return as
    one; short enough for a node to follow again within 10 s of the store's return."""
    return min(_PAUSES[0] * 2.0 ** min(failures - 1, 9), _PAUSES[1]) * random.uniform(0.5, 1.5)


class Contact:
    """`error`: why the store cannot be used, "" while it can. `current`: when it last answered, by the clock `now`.

    `troubled` is called after each failure.
    """

    def __init__(self, node: str, now: Callable[[], float], troubled: Callable[[], None] = lambda: None) -> None:
        self.error, self.current = "", now()
        self._now, self._troubled = now, troubled
        self._told: set[str] = set()
        self._log = log.bind(node=node)

    def trouble(self, error: WeftError) -> None:
        """The store cannot be used. The datapath goes on as it is."""
        self.error = str(error)
        if self.error not in self._told:
            self._told.add(self.error)
            self._log.warning("store", error=self.error)
        self._troubled()

    def answered(self, revision: int) -> None:
        """The store has done what it was asked for."""
        self.current = self._now()
        if self.error:
            self.error = ""
            self._told.clear()
            self._log.info("store answers again", revision=revision)
