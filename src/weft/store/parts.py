"""Writes that do not fit into one transaction, in several.

How much fits only the store knows (etcd: --max-txn-ops and --max-request-bytes of each member), so a part that is
refused is cut in half. What makes the parts one change in readers' eyes is their callers' business:
`weft.store.intent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weft.store.store import Compare, Delete, Outcome, Put, Store, TooLarge

_MOST = 100
"""Writes in a part at first: below etcd's default of 128."""

_BYTES = 512 * 1024
"""Bytes of keys and values in a part at first, as JSON and base64 about half of etcd's default of 1.5 MiB."""


def parts(writes: Sequence[Put | Delete]) -> Iterator[list[Put | Delete]]:
    """In the order given; at least one write each."""
    part: list[Put | Delete] = []
    size = 0
    for write in writes:
        weight = len(write.key) + (len(write.value) if isinstance(write, Put) else 0)
        if part and (len(part) >= _MOST or size + weight > _BYTES):
            yield part
            part, size = [], 0
        part.append(write)
        size += weight
    if part:
        yield part


async def write_part(store: Store, compares: Sequence[Compare], part: Sequence[Put | Delete]) -> Outcome:
    """Writes it in as few transactions as the store takes, each with the same comparisons; stops at the first that
    fails.

    Raises `TooLarge` where a single write is.
    """
    try:
        return await store.transact(compares, part)
    except TooLarge:
        if len(part) < 2:
            raise
    half = len(part) // 2
    first = await write_part(store, compares, part[:half])
    return await write_part(store, compares, part[half:]) if first.done else first
