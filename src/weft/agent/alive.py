"""The lease that says this host is alive, and nothing else: it moves no gateway and takes no row away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from weft.agent.contact import pause
from weft.model.errors import WeftError
from weft.store.records import Keys
from weft.store.store import LeaseLost, Put, Store

LEASE = 15.0  # seconds after which a silent host counts as gone


class Alive:
    """Holds the lease while it runs and gives it back in the end. `answered`, `trouble`: what the store has done."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        node: str,
        answered: Callable[[], None],
        trouble: Callable[[WeftError], None],
    ) -> None:
        self._store, self._key, self._answered, self._trouble = store, f"{keys.alive}{node}", answered, trouble
        self._lease = 0
        self._hangs = False  # the key, on the lease
        self._failures = 0

    async def run(self) -> None:
        """Until cancelled; renews after a third of the time, and is granted another lease where one was lost."""
        try:
            while True:
                await asyncio.sleep(await self._renew())
        finally:
            if self._lease:
                with contextlib.suppress(WeftError, TimeoutError):
                    async with asyncio.timeout(1):
                        await self._store.revoke(self._lease)

    async def _renew(self) -> float:
        """Seconds until it is due again."""
        try:
            if not self._lease:
                self._lease, self._hangs = await self._store.grant(LEASE), False
            if self._hangs:
                await self._store.keep_alive(self._lease)
            else:
                await self._store.transact([], [Put(self._key, b"{}", self._lease)])
                self._hangs = True
        except LeaseLost:
            self._lease = 0
            return 0.0
        except WeftError as error:
            self._failures += 1
            self._trouble(error)
            return pause(self._failures)
        self._failures = 0
        self._answered()
        return LEASE / 3
