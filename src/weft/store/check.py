"""What every store refuses before it looks at what it holds, so that all implementations refuse the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from weft.model.errors import Kind, WeftError
from weft.store.store import Compare, Delete, Put


def check_transaction(compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> None:
    """Keys are text that UTF-8 can carry, and each is written once; raises `INVALID`."""
    check_text(compare.key for compare in compares)
    check_text(write.key for write in writes)
    seen: set[str] = set()
    for key in (compare.key for compare in compares):
        if not key:
            raise WeftError(Kind.INVALID, "an empty key cannot be compared", remedy="name the key")
    for key in (write.key for write in writes):
        if not key:
            raise WeftError(Kind.INVALID, "an empty key cannot be written", remedy="name the key")
        if key in seen:
            raise WeftError(
                Kind.INVALID,
                "the key is written twice in one transaction",
                where=key,
                remedy="keep the last write only",
            )
        seen.add(key)


def check_text(texts: Iterable[str]) -> None:
    """Refuses (`INVALID`) what UTF-8 cannot carry: lone surrogates, as `os.fsdecode` makes them."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise WeftError(Kind.INVALID, f"key {text!r} is not valid Unicode", remedy="use valid UTF-8") from None


def check_ttl(ttl: float) -> None:
    """A time to live is a finite number of seconds above 0; raises `INVALID`."""
    if not (math.isfinite(ttl) and ttl > 0):
        raise WeftError(Kind.INVALID, f"a lease cannot last {ttl} seconds", remedy="use a number above 0")


def check_compaction(revision: int, current: int) -> None:
    """History that is yet to come cannot be forgotten; raises `INVALID`."""
    if revision > current + 1:
        raise WeftError(
            Kind.INVALID, f"cannot compact to revision {revision}, the store stands at {current}", remedy="use less"
        )


def closed(url: str) -> WeftError:
    """What a closed handle answers."""
    return WeftError(Kind.UNREACHABLE, "the store was closed", where=url, remedy="open it again")
