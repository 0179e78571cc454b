"""What a person should know of sightings: each thing once, for a while after it was last true."""

from __future__ import annotations

from collections.abc import Hashable

_KEPT = 600.0  # seconds a note stays after it was last said
_MOST = 50  # notes told at once; of a flood the rest is counted


class Notes:
    """Notes by what they are about; a new one about the same replaces the old one."""

    def __init__(self) -> None:
        self._notes: dict[Hashable, tuple[float, str]] = {}
        self.version = 0  # changes with what there is to say

    def say(self, about: Hashable, text: str, now: float) -> None:
        if about in self._notes or len(self._notes) < 10 * _MOST:
            self.version += self._notes.get(about, (now, ""))[1] != text
            self._notes[about] = now, text

    def drop(self, about: Hashable) -> None:
        self.version += self._notes.pop(about, None) is not None

    def prune(self, now: float) -> None:
        for about in [about for about, (when, _) in self._notes.items() if when < now - _KEPT]:
            self.drop(about)

    def lines(self) -> tuple[str, ...]:
        texts = sorted(text for _, text in self._notes.values())
        more = (f"and {len(texts) - _MOST} more sightings worth a look",) if len(texts) > _MOST else ()
        return (*texts[:_MOST], *more)
