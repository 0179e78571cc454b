"""Sets of key prefixes and single keys: which keys they cover, and as ranges `first ≤ key < end`.

Order is by code point, which is also the order of UTF-8 bytes, so the same ranges serve Python, sqlite (BINARY
collation) and etcd.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter

from weft.store.check import check_text
from weft.store.store import Exactly, Prefix


class Prefixes:
    """The fewest prefixes that cover the same keys, sorted, and the single keys beside them; so a key is under one of
    them at most."""

    __slots__ = ("_keys", "_sorted")

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        asked = list(prefixes)
        keys = {each.key for each in asked if isinstance(each, Exactly)}
        wanted = sorted({each for each in asked if isinstance(each, str)})
        check_text([*wanted, *keys])
        kept: list[str] = []
        for prefix in wanted:
            if not kept or not prefix.startswith(kept[-1]):
                kept.append(prefix)
        self._sorted = kept
        self._keys = frozenset(key for key in keys if key and not self._covers(key))

    def __contains__(self, key: str) -> bool:
        return key in self._keys or self._covers(key)

    def _covers(self, key: str) -> bool:
        # Only the greatest prefix not after the key can cover it: any other candidate would cover that one too.
        at = bisect_right(self._sorted, key)
        return at > 0 and key.startswith(self._sorted[at - 1])

    def ranges(self) -> list[tuple[str, str | None]]:
        """(first, end) of each prefix and key in order; end None: to the last key."""
        of_keys: list[tuple[str, str | None]] = [(key, f"{key}\0") for key in self._keys]
        return sorted([*((prefix, prefix_end(prefix)) for prefix in self._sorted), *of_keys], key=itemgetter(0))


def prefix_end(prefix: str) -> str | None:
    """The least text above everything that starts with `prefix`; None if there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    # Surrogates are no characters of their own and have no UTF-8.
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)
