"""Where a command works: which store, which cluster in it, and where the agents of this host have their sockets.

`--lab NAME` names all three at once, whatever WEFT_STORE says of the host itself. A lab without root lives in a user
namespace of its own, but its store and its sockets are files that every process of the user reaches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from weft.store.records import Keys
    from weft.store.store import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """`lab`: the lab's name, None on a real host; `lab_directory` is then its own."""

    url: str
    cluster: str
    lab: str | None = None
    lab_directory: Path | None = None

    @property
    def directory(self) -> Path:
        """Where the agents of this host and cluster, or of the lab, have their sockets and locks."""
        if self.lab_directory is not None:
            return self.lab_directory
        from weft.agent.local import default_directory

        shared = default_directory()
        return shared if self.cluster == "default" else shared / self.cluster

    @asynccontextmanager
    async def opened(self, *, create: bool = False) -> AsyncIterator[tuple[Store, Keys]]:
        """The store and the cluster's keys in it; raises UNREACHABLE, naming the store and the reason.

        `create`: a sqlite store that is not there is made; only what writes intent may.
        """
        from weft.store import open_store
        from weft.store.records import Keys

        store = open_store(self.url, create=create)
        try:
            yield store, Keys(self.cluster)
        finally:
            await store.close()


def place(store: str | None, cluster: str | None, lab: str | None) -> Place:
    """What the options say; raises NOT_FOUND for a lab that is not up, USAGE for a cluster's name that is none."""
    if lab:
        return _of_lab(lab)
    from weft.store import default_url

    return Place(store or default_url(), _named(cluster or "default"))


def _of_lab(lab: str) -> Place:
    from weft.lab import state

    found = state.find(lab)
    return Place(found.store_url, "default", lab, found.directory)


def _named(cluster: str) -> str:
    import re

    from weft.model.errors import Kind, WeftError

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", cluster):
        raise WeftError(Kind.USAGE, f"'{cluster}' is no cluster's name", remedy="letters, digits, `.`, `_` and `-`")
    return cluster


def run(work: Coroutine[object, object, T]) -> T:
    """Runs a command's coroutine to its end."""
    import asyncio

    return asyncio.run(work)
