"""Where a run stores its fleet: a place that is its own, and that is afterwards as it was before.

/weft/weft-sim/sim/made     a run has made what stands in the cluster: the next may take it away
/weft/weft-sim/sim/held     with a lease: a run is at it
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from weft.model.errors import Kind, WeftError
from weft.store import Compare, Delete, LeaseLost, Put, Store, open_store
from weft.store.parts import parts
from weft.store.records import Keys

CLUSTER = "weft-sim"
_TTL = 60.0  # seconds; storing a large fleet keeps the loop busy for some


@contextmanager
def place(url: str | None) -> Iterator[str]:
    """The store's URL. A sqlite file and directories that were not there go again, unless others store there too."""
    if url is None:
        with tempfile.TemporaryDirectory(prefix="weft-sim-") as directory:
            yield f"sqlite://{directory}/weft.db"
        return
    path = Path("/" + url.removeprefix("sqlite:").lstrip("/"))
    if not url.startswith("sqlite:") or path.exists():
        yield url
        return
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        yield url
    finally:
        if not path.exists() or asyncio.run(_empty(url)):
            for made in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
                made.unlink(missing_ok=True)
            with suppress(OSError):  # somebody else's files are in it
                for parent in missing:
                    parent.rmdir()


async def _empty(url: str) -> bool:
    store = open_store(url, create=False)
    try:
        return not (await store.snapshot()).items
    finally:
        await store.close()


@asynccontextmanager
async def claimed(store: Store, keys: Keys) -> AsyncIterator[None]:
    """The cluster, empty, for this run alone; emptied again. What a run left that was killed is taken away.

    Raises REFUSED where another run is at it, or where something stands there that is no run's.
    """
    made, held = f"{keys.root}sim/made", f"{keys.root}sim/held"
    there = {item.key: item.revision for item in (await store.snapshot((keys.root,))).items}
    if there and made not in there:
        what, remedy = f"cluster {CLUSTER} is there already", f"name another store, or delete the keys of {keys.root}"
        raise WeftError(Kind.REFUSED, f"{what}, and no run of sim made it", where=store.url, remedy=remedy)
    lease = await store.grant(_TTL)
    claims = [Compare(held, 0), Compare(made, there.get(made, 0))]
    if not (await store.transact(claims, [Put(made, b"{}"), Put(held, b"{}", lease)])).done:
        await store.revoke(lease)
        remedy = f"let it end; one that was killed lets go within {_TTL:.0f} s"
        raise WeftError(Kind.REFUSED, f"another run is in cluster {CLUSTER}", where=store.url, remedy=remedy)
    keeping = asyncio.create_task(_keep(store, held, lease))
    try:
        await _clear(store, keys, {made, held})
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await _clear(store, keys, {made, held})
        await store.transact([], [Delete(held), Delete(made)])
        await store.revoke(lease)


async def _clear(store: Store, keys: Keys, kept: set[str]) -> None:
    items = (await store.snapshot((keys.root,))).items
    for part in parts([Delete(item.key) for item in items if item.key not in kept]):
        await store.transact([], part)


async def _keep(store: Store, held: str, lease: int) -> None:
    while True:
        await asyncio.sleep(_TTL / 4)
        with suppress(WeftError):  # away just now: the next time
            try:
                await store.keep_alive(lease)
            except LeaseLost:
                lease = await store.grant(_TTL)
                await store.transact([Compare(held, 0)], [Put(held, b"{}", lease)])
