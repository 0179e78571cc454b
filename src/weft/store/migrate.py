"""Copying a cluster from one store to another, with nothing lost.

The source should be at rest: what is written to it after the copy's snapshot is noticed, not copied. Keys with a
lease (who is alive) belong to processes that will put them into the new store themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.model.errors import Kind, WeftError
from weft.store.parts import parts, write_part
from weft.store.records import Keys
from weft.store.store import Item, Put, Store


@dataclass(frozen=True, slots=True)
class Migrated:
    """How many keys were copied, how many with a lease were left out, and the revisions: read at, written by."""

    copied: int
    left: int
    source: int
    target: int


async def migrate(source: Store, target: Store, keys: Keys) -> Migrated:
    """Copies everything below the cluster's root; the guard of applies comes last, so that a copy cut short is no
    store to apply to.

    Raises `REFUSED` where the target holds something of this cluster, `CONFLICT` where the source changed meanwhile
    or the target is not what was written. After either, empty the target's cluster before the next try.
    """
    before = await source.snapshot((keys.root,))
    if not before.items:
        raise WeftError(
            Kind.NOT_FOUND, f"nothing is stored below {keys.root}", where=source.url, remedy="check the source's URL"
        )
    there = await target.snapshot((keys.root,))
    if there.items:
        raise WeftError(
            Kind.REFUSED,
            f"{len(there.items)} keys are there already, such as {there.items[0].key}",
            where=target.url,
            remedy=f"choose another store, or delete what is below {keys.root}",
        )
    kept = [item for item in before.items if not item.lease]
    kept.sort(key=lambda item: item.key == keys.guard)
    for part in parts([Put(item.key, item.value) for item in kept]):
        await write_part(target, [], part)
    after = await target.snapshot((keys.root,))
    _verify(target, kept, after.items)
    again = await source.snapshot((keys.root,))
    if _content(again.items) != _content(before.items):
        raise _differs(source, "the source changed while it was copied")
    return Migrated(len(kept), len(before.items) - len(kept), before.revision, after.revision)


def _verify(target: Store, wanted: Sequence[Item], found: Sequence[Item]) -> None:
    want, have = _content(wanted), _content(found)
    wrong = sorted({key for key, _ in want.items() ^ have.items()})
    if wrong:
        raise _differs(target, f"{len(wrong)} keys are not what was written, such as {wrong[0]}")


def _content(items: Sequence[Item]) -> dict[str, bytes]:
    return {item.key: item.value for item in items if not item.lease}


def _differs(store: Store, what: str) -> WeftError:
    return WeftError(
        Kind.CONFLICT, what, where=store.url, remedy="stop what writes there, empty the target and migrate again"
    )
