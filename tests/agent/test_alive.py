"""The lease that says that a host is alive: kept through a store's failures, and had again soon where it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from weft.agent.alive import LEASE, Alive
from weft.model.errors import Kind, WeftError
from weft.store import Compare, Delete, Outcome, Put
from weft.store.memory import MemoryStore
from weft.store.records import Keys

KEYS = Keys()
KEY = f"{KEYS.alive}h1"


class Failing(MemoryStore):
    """Fails in what `failing` names; `asked`: what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = ""
        self.asked: list[str] = []

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what == self.failing:
            raise WeftError(Kind.UNREACHABLE, "nobody answers", where="test")

    async def grant(self, ttl: float) -> int:
        self._ask("grant")
        return await super().grant(ttl)

    async def keep_alive(self, lease: int) -> None:
        self._ask("keep alive")
        await super().keep_alive(lease)

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        self._ask("put")
        return await super().transact(compares, writes)


def living(test: Callable[[Failing, Alive], Awaitable[None]]) -> None:
    store = Failing()
    asyncio.run(test(store, Alive(store, KEYS, "h1", lambda: None, lambda error: None)))  # type: ignore[arg-type]


def test_after_a_failure_it_is_renewed_after_a_pause_and_not_when_it_may_have_ended() -> None:
    async def test(store: Failing, alive: Alive) -> None:
        assert await alive._renew() == LEASE / 3
        store.failing = "keep alive"
        for _ in range(9):
            assert await alive._renew() <= 3.0
        store.failing = ""
        assert await alive._renew() == LEASE / 3
        assert store.asked == ["grant", "put", *10 * ["keep alive"]]

    living(test)


def test_a_lease_is_not_kept_without_its_key() -> None:
    """The store fails between the two."""

    async def test(store: Failing, alive: Alive) -> None:
        store.failing = "put"
        assert await alive._renew() <= 3.0
        store.failing = ""
        await alive._renew()
        (item,) = (await store.snapshot([KEY])).items
        assert store._memory.leases[item.lease].keys == {KEY}
        assert store.asked == ["grant", "put", "put"]

    living(test)


def test_a_lease_that_was_lost_is_had_again_at_once() -> None:
    async def test(store: Failing, alive: Alive) -> None:
        await alive._renew()
        (item,) = (await store.snapshot([KEY])).items
        await store.revoke(item.lease)
        assert await alive._renew() == 0.0
        assert await alive._renew() == LEASE / 3
        (again,) = (await store.snapshot([KEY])).items
        assert again.lease != item.lease

    living(test)
