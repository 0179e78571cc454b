"""Compact indices over columns: which entries may have a key, and small numbers for texts.

`Index` is a hash table with open addressing (linear probing) that holds entry numbers only, four octets each: whoever
owns the columns compares what it finds there. It is between a half and three quarters full; what is taken out leaves a
mark, which the next entry on that way takes. Built from arrays at once, without a step of Python for each entry.

Hashes are salted by the process, as those of Python's own texts: who writes a store cannot choose what collides.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

K = TypeVar("K", bound=Hashable)
Words = npt.NDArray[np.uint64]

WORD = (1 << 64) - 1
_ODD, _HIGH, _WITHIN = (hash((name, "weft")) & WORD | 1 for name in ("low", "high", "within"))
_GONE = 0xFFFFFFFF


class Index:
    """Entries 0 to 2³² − 3 by a key of 64 bits; several may have the same."""

    __slots__ = ("_size", "_slots", "_used")

    def __init__(self) -> None:
        self.build(np.empty(0, np.uint64), np.empty(0, np.uint32))

    def build(self, keys: Words, entries: npt.NDArray[Any], room: int = 1) -> None:
        """Anew, with these entries by these keys, and room for so many more."""
        size = 2 * (len(keys) + room) + 6
        slots = np.zeros(size, np.uint32)
        left = entries.astype(np.uint32) + np.uint32(1)
        # The upper half of a hash, as a part of the whole, becomes the same part of the slots.
        at = ((keys * np.uint64(_ODD)) >> np.uint64(32)) * np.uint64(size) >> np.uint64(32)
        while len(left):
            free = slots[at] == 0
            slots[at[free]] = left[free]  # of several that meet in a slot one stays, and the others go on
            lost = slots[at] != left
            at, left = (at[lost] + np.uint64(1)) % np.uint64(size), left[lost]
        self._slots = array("I", slots.tobytes())
        self._size, self._used = size, len(keys)

    def holds(self, more: int) -> bool:
        """Whether there is room for so many more; else it must be built anew before they are added."""
        return 4 * (self._used + more) <= 3 * self._size

    def find(self, key: int) -> list[int]:
        """Entries that may have the key, all that have it among them."""
        slots, found = self._slots, []
        at = self._home(key)
        while slot := slots[at]:
            if slot != _GONE:
                found.append(slot - 1)
            at = at + 1 if at + 1 < self._size else 0
        return found

    def _home(self, key: int) -> int:
        return ((key * _ODD & WORD) >> 32) * self._size >> 32

    def add(self, key: int, entry: int) -> None:
        slots, at = self._slots, self._home(key)
        while (slot := slots[at]) and slot != _GONE:
            at = at + 1 if at + 1 < self._size else 0
        self._used += not slot
        slots[at] = entry + 1

    def remove(self, key: int, entry: int) -> None:
        """Takes out an entry that is there."""
        slots, at = self._slots, self._home(key)
        while slots[at] != entry + 1:
            at = at + 1 if at + 1 < self._size else 0
        slots[at] = _GONE


class Numbers(Generic[K]):
    """Small numbers for things that come again and again; a thing keeps its number."""

    __slots__ = ("_numbers", "things")

    def __init__(self) -> None:
        self.things: list[K] = []
        self._numbers: dict[K, int] = {}

    def of(self, thing: K) -> int:
        """Its number, a new one where it has none."""
        number = self._numbers.get(thing)
        if number is None:
            number = self._numbers[thing] = len(self.things)
            self.things.append(thing)
        return number

    def get(self, thing: K) -> int | None:
        return self._numbers.get(thing)


def word_within(group: int, word: int) -> int:
    """The key of a word within a group of entries."""
    return word + group * _WITHIN & WORD


def words_within(groups: npt.NDArray[Any], words: Words) -> Words:
    """As `word_within`, of arrays."""
    return words + groups.astype(np.uint64) * np.uint64(_WITHIN)


def folded(high: int, low: int) -> int:
    """An address of two words as one."""
    return high * _HIGH + low & WORD


def all_folded(high: Words, low: Words) -> Words:
    """As `folded`, of arrays."""
    return high * np.uint64(_HIGH) + low
