"""A fight: another program undoes what weft repairs, again and again. It is noticed, told, and slowed down. Pure.

Each thing that is put back (a port that was gone, a segment's MTU, a row) has a run of repairs. `FREE` of them, each
within `WINDOW` seconds of the last, are done at once; from then on each repair of it waits twice as long as the one
before, up to 60 s. Everything else is repaired at once as ever. What is left alone for long enough is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FREE = 5
WINDOW = 10.0  # seconds
PAUSES = (1.0, 60.0)  # seconds: first and longest


@dataclass(slots=True)
class _Run:
    """`count` repairs since `first`, the last one at `last`; the next may be done `pause` seconds after it."""

    first: float
    last: float
    count: int = 0
    pause: float = 0.0

    def over(self, now: float) -> bool:
        return now - self.last > max(WINDOW, 2 * self.pause)


class Fights:
    """Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}

    def repaired(self, objects: Iterable[str], now: float) -> list[str]:
        """Takes down that these objects were put back; those over which a fight begins with that."""
        self._runs = {name: run for name, run in self._runs.items() if not run.over(now)}
        begun = []
        for name in objects:
            run = self._runs.setdefault(name, _Run(now, now))
            run.count, run.last = run.count + 1, now
            if run.count > FREE:
                run.pause = min(PAUSES[0] * 2.0 ** (run.count - FREE - 1), PAUSES[1])
                begun += [name] if run.count == FREE + 1 else []
        return begun

    def held(self, now: float) -> frozenset[str]:
        """Objects that are not to be repaired yet."""
        return frozenset(name for name, run in self._runs.items() if run.pause and now < run.last + run.pause)

    def due(self, now: float) -> float | None:
        """Seconds until the next of them may be repaired; None where none is held."""
        return min((self._runs[name].last + self._runs[name].pause - now for name in self.held(now)), default=None)

    def told(self, now: float) -> tuple[str, ...]:
        """One line for each fight, by name."""
        return tuple(
            f"{_named(name)} was changed by another program {run.count} times in {run.last - run.first:.0f} s; "
            f"weft puts it back every {run.pause:g} s: find who changes it (`ip monitor all`) and stop it"
            for name, run in sorted(self._runs.items())
            if run.pause and not run.over(now)
        )


def _named(name: str) -> str:
    """ "segment 5000 (mtu)" of "segment 5000: mtu"."""
    thing, colon, aspect = name.partition(": ")
    return f"{thing} ({aspect})" if colon else name
