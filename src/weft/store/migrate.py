"""Copying a cluster from one store to another, with nothing lost.

The source should be at rest: what is written to it after the copy's snapshot is noticed, not copied. Keys with a
lease (who is alive) belong to processes that will put them into the new store themselves.

A copy that fails takes back what it wrote, as far as the target still answers. One that was killed leaves keys without
the guard of applies, which comes last: agents change nothing for a store that nothing was ever applied to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from weft.model.errors import Kind, WeftError
from weft.store.intent import APPLYING
from weft.store.parts import parts, write_part
from weft.store.records import Keys
from weft.store.store import Compare, Delete, Item, Put, Snapshot, Store

Progress = Callable[[int, int], None]
_MOST = 100  # comparisons and deletions in a transaction: below etcd's default of 128


@dataclass(frozen=True, slots=True)
class Migrated:
    """How many keys were copied, how many with a lease were left out, and the revisions: read at, written by.

    `alive`: nodes whose agents follow the source.
    """

    copied: int
    left: int
    source: int
    target: int
    alive: tuple[str, ...] = ()


async def ready(source: Store, keys: Keys) -> Snapshot:
    """What there is to migrate; raises `NOT_FOUND` for nothing, `CONFLICT` while an apply is being written."""
    found = await source.snapshot((keys.root,))
    if not found.items:
        raise WeftError(
            Kind.NOT_FOUND, f"nothing is stored below {keys.root}", where=source.url, remedy="check the source's URL"
        )
    if any(item.key == keys.guard and item.value == APPLYING for item in found.items):
        raise WeftError(
            Kind.CONFLICT, "an apply is being written", where=source.url, remedy="wait for its end and migrate then"
        )
    return found


async def migrate(source: Store, target: Store, keys: Keys, progress: Progress = lambda written, of: None) -> Migrated:
    """Copies everything below the cluster's root. `progress` is told (written, of) keys.

    Raises what `ready` does, `REFUSED` where the target holds something of this cluster or is the source, `CONFLICT`
    where the source changed meanwhile or the target is not what was written.
    """
    before = await ready(source, keys)
    _is_free(target, keys, await target.snapshot((keys.root,)), before)
    kept = [item for item in before.items if not item.lease]
    kept.sort(key=lambda item: item.key == keys.guard)
    try:
        written = 0
        for part in parts([Put(item.key, item.value) for item in kept]):
            await write_part(target, [], part)
            written += len(part)
            progress(written, len(kept))
        after = await target.snapshot((keys.root,))
        _verify(target, kept, after.items)
        again = await source.snapshot((keys.root,))
        if _content(again.items) != _content(before.items):
            raise _conflict(source, "the source changed while it was copied", "stop what writes there")
    except BaseException:
        with suppress(WeftError):
            await _take_back(target, keys, kept)
        raise
    alive = tuple(item.key.removeprefix(keys.alive) for item in before.items if item.key.startswith(keys.alive))
    return Migrated(len(kept), len(before.items) - len(kept), before.revision, after.revision, alive)


def _is_free(target: Store, keys: Keys, there: Snapshot, before: Snapshot) -> None:
    """Raises `REFUSED` otherwise. One store has many URLs, but its items have one revision each."""
    if not there.items:
        return
    if there.items == before.items:
        raise WeftError(
            Kind.REFUSED,
            "it is the source itself, or a copy of it",
            where=target.url,
            remedy="name another store to migrate to",
        )
    raise WeftError(
        Kind.REFUSED,
        f"{len(there.items)} keys are there already, such as {there.items[0].key}",
        where=target.url,
        remedy=f"choose another store, or delete what is below {keys.root} (docs/store.md)",
    )


def _verify(target: Store, wanted: Sequence[Item], found: Sequence[Item]) -> None:
    want, have = _content(wanted), _content(found)
    wrong = sorted({key for key, _ in want.items() ^ have.items()})
    if wrong:
        what = f"{len(wrong)} keys are not what was written, such as {wrong[0]}"
        raise _conflict(target, what, "stop what writes there, delete what it wrote")


def _content(items: Sequence[Item]) -> dict[str, bytes]:
    return {item.key: item.value for item in items if not item.lease}


def _conflict(store: Store, what: str, first: str) -> WeftError:
    return WeftError(Kind.CONFLICT, what, where=store.url, remedy=f"{first} and migrate again")


async def _take_back(target: Store, keys: Keys, kept: Sequence[Item]) -> None:
    """Deletes what still stands as it was written; what somebody else has written since stays."""
    ours = {item.key: item.value for item in kept}
    left = [item for item in (await target.snapshot((keys.root,))).items if ours.get(item.key) == item.value]
    for size in (_MOST, 1):  # a part in which one has changed is taken back key by key
        parts_ = [left[at : at + size] for at in range(0, len(left), size)]
        done = [await _delete(target, part) for part in parts_]
        left = [item for part, gone in zip(parts_, done, strict=True) for item in part if not gone]


async def _delete(target: Store, items: Sequence[Item]) -> bool:
    compares = [Compare(item.key, item.revision) for item in items]
    return (await target.transact(compares, [Delete(item.key) for item in items])).done
