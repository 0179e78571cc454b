"""The store as everything above sees it; modelled on etcd v3, so that etcd and sqlite keep the same promises.

- One revision counter for the whole store; every transaction that changes something raises it by one, and all its
  changes carry that revision. An empty store stands at 1. Putting the value a key already has is a change; deleting a
  key that does not exist is none.
- A snapshot is consistent: everything as it stood at one revision.
- A watch from revision R delivers every change with a revision ≥ R, in order, whole transactions at a time, once.
  A revision that history no longer covers raises `Compacted`: take a new snapshot.
- A transaction compares first and writes only if every comparison holds.
- A key put with a lease disappears when the lease ends, as a change like any other: one transaction for each lease,
  keys in order.

Keys are slash-separated text, not empty, sorted by code point (which is the order of their UTF-8 bytes). Values are
bytes. Times to live are seconds. A prefix is plain text: "a/b" covers "a/bc" too, "" covers everything; where a prefix
is asked for, `Exactly` names a single key.

What etcd adds in its default settings, for who wants to run on both: at most 128 writes and 1.5 MiB in a transaction;
more is refused with `TooLarge`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from weft.model.errors import Kind, WeftError


@dataclass(frozen=True, slots=True)
class Item:
    """A stored value: `revision` is that of its last change."""

    key: str
    value: bytes
    revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Exactly:
    """The key itself, and nothing that begins with it."""

    key: str


Prefix = str | Exactly


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything below the asked prefixes, as it stood at `revision`; items sorted by key."""

    revision: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A key's new value, or None where it was deleted."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes of one transaction that fall under the watched prefixes."""

    revision: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Holds if the key's last change has this revision; 0: the key does not exist."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """`done` False: a comparison did not hold, nothing was written; `revision` is the store's at that moment."""

    done: bool
    revision: int


class Compacted(WeftError):
    """The asked revision is older than the history kept: take a new snapshot."""

    def __init__(self, oldest: int) -> None:
        super().__init__(Kind.CONFLICT, f"history starts at revision {oldest}", remedy="take a new snapshot")
        self.oldest = oldest


class LeaseLost(WeftError):
    """The lease has expired or was revoked; what was attached to it is gone."""

    def __init__(self, lease: int) -> None:
        super().__init__(Kind.CONFLICT, f"lease {lease} is gone", remedy="grant a new one")
        self.lease = lease


class TooLarge(WeftError):
    """More in one transaction than the store takes; nothing was written. `weft.store.parts` writes it in several."""

    def __init__(self, reason: str, url: str) -> None:
        super().__init__(
            Kind.REFUSED,
            f"more than this store takes in one transaction ({reason})",
            where=url,
            remedy="split the change, or start every etcd with larger --max-txn-ops and --max-request-bytes",
        )


class Store(Protocol):
    """Raises `WeftError(UNREACHABLE)`, naming the address or path and the reason, wherever the store cannot answer."""

    @property
    def url(self) -> str: ...

    async def snapshot(self, prefixes: Sequence[Prefix] = ("",)) -> Snapshot:
        """Each item once, also where prefixes overlap. A watch from `revision + 1` goes on without a gap."""
        ...

    def watch(self, prefixes: Sequence[Prefix], revision: int) -> AsyncIterator[Changes]:
        """Changes with a revision ≥ `revision` under any of the prefixes, until `close`; raises `Compacted`.

        Changes of one transaction stand in the order they were written, as far as one prefix covers them. Cancelling
        a wait for the next loses nothing, and after an error that `retry` allows, asking again goes on where it
        stopped.
        """
        ...

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        """All writes or none. A key may be written once only (`INVALID`). Not `durable`: where that saves waiting for a
        disk, a power cut may take it back (reports, which are made again after it).

        Comparisons come first; only if all hold, a `Put` on a lease that is gone raises `LeaseLost`. Raises `TooLarge`
        for what does not fit into one. A `Put` without a lease detaches the key from the one it had.
        """
        ...

    async def grant(self, ttl: float) -> int:
        """A new lease, never 0, that lasts `ttl` seconds (> 0; etcd rounds up to whole ones)."""
        ...

    async def keep_alive(self, lease: int) -> None:
        """Starts the lease's time to live anew; raises `LeaseLost`."""
        ...

    async def revoke(self, lease: int) -> None:
        """Ends the lease and deletes what is attached; no error if it is gone already."""
        ...

    async def compact(self, revision: int) -> None:
        """Forgets history before `revision`; current values stay. A watch from `revision` still works.

        Going back is a no-op; more than one beyond the current revision is refused (`INVALID`).
        """
        ...

    async def close(self) -> None:
        """Ends this handle's watches as a loop ends; any later call raises `UNREACHABLE`. Leases live on."""
        ...
