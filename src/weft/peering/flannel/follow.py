"""Follows the leases in etcd from a revision on, for ever: whatever breaks, no change is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from weft.model.errors import WeftError
from weft.peering.flannel.registry import Listing, Registry
from weft.store.store import Changes, Compacted

_AGAIN = 1.0
"""Seconds between two attempts while etcd does not answer."""


async def follow(
    registry: Registry,
    revision: int,
    take: Callable[[Changes | Listing], None],
    said: Callable[[WeftError | None], None],
) -> None:
    """Gives changes, or all leases anew where history does not reach back to where we were, to `take`; `said` hears
    why etcd cannot be followed, and None when it can again."""
    watch = registry.watch(revision)
    while True:
        try:
            changes = await anext(watch)
        except Compacted:
            watch = await _anew(registry, take, said)
        except StopAsyncIteration:
            return
        except WeftError as error:
            said(error)
            await asyncio.sleep(_AGAIN)
        else:
            said(None)
            take(changes)


async def _anew(
    registry: Registry, take: Callable[[Listing], None], said: Callable[[WeftError | None], None]
) -> AsyncIterator[Changes]:
    while True:
        try:
            listing = await registry.list()
        except WeftError as error:
            said(error)
            await asyncio.sleep(_AGAIN)
        else:
            take(listing)
            return registry.watch(listing.revision + 1)
