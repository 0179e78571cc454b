"""A store that is opened when it is first used: for who starts before it, or before its file is there.

Every call tries to open it until that succeeds; what `open_store` raises is raised by the call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from weft.store.store import Changes, Compare, Delete, Outcome, Prefix, Put, Snapshot, Store


class LateStore:
    """Implements `Store` over the one that `opening` returns."""

    def __init__(self, url: str, opening: Callable[[], Store]) -> None:
        self._url, self._opening = url, opening
        self._opened: Store | None = None

    @property
    def url(self) -> str:
        return self._opened.url if self._opened else self._url

    def opened(self) -> Store:
        """The store itself; raises why it cannot be opened."""
        if self._opened is None:
            self._opened = self._opening()
        return self._opened

    async def snapshot(self, prefixes: Sequence[Prefix] = ("",)) -> Snapshot:
        return await self.opened().snapshot(prefixes)

    def watch(self, prefixes: Sequence[Prefix], revision: int) -> AsyncIterator[Changes]:
        return self.opened().watch(prefixes, revision)

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        return await self.opened().transact(compares, writes, durable=durable)

    async def grant(self, ttl: float) -> int:
        return await self.opened().grant(ttl)

    async def keep_alive(self, lease: int) -> None:
        await self.opened().keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        await self.opened().revoke(lease)

    async def compact(self, revision: int) -> None:
        await self.opened().compact(revision)

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
