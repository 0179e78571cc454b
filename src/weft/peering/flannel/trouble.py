"""What is wrong with a node now, by topic: each reason told once, and how long to wait before the next try."""

from __future__ import annotations

from typing import Protocol

from weft.model.errors import WeftError

_AGAIN = (0.2, 15.0)
"""Seconds after which a failure is tried again: at first, and at most."""


class Log(Protocol):
    def __call__(self, event: str, *, warning: bool = False, **values: object) -> None: ...


class Trouble:
    """Sans I/O, but for the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._said: dict[str, str] = {}
        self._pause: dict[str, float] = {}

    def now(self) -> list[str]:
        """In words."""
        return [f"{topic}: {said}" for topic, said in sorted(self._said.items())]

    def say(self, topic: str, error: WeftError) -> None:
        """Tells it, unless it is told already."""
        if self._said.get(topic) != str(error):
            self._said[topic] = str(error)
            self._log(topic, warning=True, error=str(error))

    def again(self, topic: str, error: WeftError) -> float:
        """Tells it; seconds after which to try again, longer from one failure to the next."""
        self.say(topic, error)
        self._pause[topic] = min(2 * self._pause.get(topic, _AGAIN[0] / 2), _AGAIN[1])
        return self._pause[topic]

    def well(self, topic: str) -> None:
        """It works."""
        self._pause.pop(topic, None)
        if self._said.pop(topic, None) is not None:
            self._log(f"{topic}: well again")
