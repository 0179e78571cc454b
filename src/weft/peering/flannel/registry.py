"""Flannel's keys in etcd v3, through the store's client: the configuration, and the leases below subnets/.

A lease is a key that hangs on an etcd lease of 24 hours. It is kept by keeping that alive, so that peers hear of it
only when it changes; flannel's daemon writes it anew instead, and either way is right for the other. Writes are
guarded: a new lease by the key's absence, a changed one by the revision it was read at. A key on no etcd lease is a
reservation, and stays one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from weft.model.errors import Kind, WeftError
from weft.peering.flannel.lease import SUBNETS, Lease, decode
from weft.store.etcd.address import Address
from weft.store.etcd.store import EtcdStore
from weft.store.store import Change, Changes, Compare, Delete, Put

CONFIG = "config"
UNTOLD = -1
"""In place of an etcd lease's id: a watch does not tell it."""
TTL = 86_400.0
"""Seconds that a lease lasts from its last renewal on; flannel's."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All leases as they stood at `revision`; `odd`: what is wrong with keys that are none."""

    revision: int
    leases: tuple[Lease, ...]
    odd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """What became of one key below subnets/: its lease, None where it is gone; `odd`: why its value is no lease."""

    key: str
    revision: int
    lease: Lease | None = None
    odd: str = ""


class Registry:
    """Raises `WeftError(UNREACHABLE)` wherever etcd cannot answer."""

    def __init__(self, address: Address) -> None:
        self._store = EtcdStore(address)

    @property
    def url(self) -> str:
        return self._store.url

    async def close(self) -> None:
        await self._store.close()

    async def hang_up(self) -> None:
        """Where this host has another address now; no call may be under way."""
        await self._store.hang_up()

    async def config(self) -> bytes | None:
        """The network's configuration; None where there is none."""
        items = (await self._store.snapshot((CONFIG,))).items
        return next((item.value for item in items if item.key == CONFIG), None)

    async def list(self) -> Listing:
        snapshot = await self._store.snapshot((SUBNETS,))
        leases: list[Lease] = []
        odd: list[str] = []
        for item in snapshot.items:
            try:
                leases.append(decode(item.key, item.value, etcd_lease=item.lease, revision=item.revision))
            except WeftError as error:
                odd.append(str(error))
        return Listing(snapshot.revision, tuple(leases), tuple(odd))

    def watch(self, revision: int) -> AsyncIterator[Changes]:
        """Changes below subnets/ from `revision` on; raises `Compacted`, and goes on after an error that may pass."""
        return self._store.watch((SUBNETS,), revision)

    async def create(self, lease: Lease, ttl: float = TTL) -> Lease | None:
        """The lease as written; None where somebody has that key."""
        granted = await self._store.grant(ttl)
        outcome = await self._store.transact([Compare(lease.key, 0)], [Put(lease.key, lease.value, granted)])
        if outcome.done:
            return replace(lease, etcd_lease=granted, revision=outcome.revision)
        with contextlib.suppress(WeftError):  # it ends by itself as well
            await self._store.revoke(granted)
        return None

    async def update(self, there: Lease, wanted: Lease, ttl: float = TTL) -> Lease | None:
        """`wanted` in the place of `there`, on the same etcd lease if that lives; None where the key was changed."""
        granted = there.etcd_lease
        if granted:
            try:
                await self._store.keep_alive(granted)
            except WeftError as error:
                if error.kind is Kind.UNREACHABLE:
                    raise
                granted = await self._store.grant(ttl)
        put = Put(wanted.key, wanted.value, granted)
        outcome = await self._store.transact([Compare(there.key, there.revision)], [put])
        return replace(wanted, etcd_lease=granted, revision=outcome.revision) if outcome.done else None

    async def keep(self, lease: Lease) -> float:
        """Starts its time anew; seconds that it lasts now. Raises `LeaseLost`; a reservation needs no keeping."""
        await self._store.keep_alive(lease.etcd_lease)
        return await self._store.remaining(lease.etcd_lease)

    async def give_back(self, leases: Sequence[Lease]) -> None:
        """Deletes keys that are still as they were read. A reservation is not given back."""
        for lease in leases:
            if not lease.reserved:
                await self._store.transact([Compare(lease.key, lease.revision)], [Delete(lease.key)])


def event(change: Change) -> Event:
    """A change of a key below subnets/ as what became of its lease; watches do not tell of etcd leases."""
    if change.value is None:
        return Event(change.key, change.revision)
    try:
        return Event(
            change.key, change.revision, decode(change.key, change.value, etcd_lease=-1, revision=change.revision)
        )
    except WeftError as error:
        return Event(change.key, change.revision, odd=str(error))
