"""`Store` over etcd v3. What differs from the other stores:

- etcd compacted at revision C keeps no deletion that happened at C itself (versions before September 2024:
  github.com/etcd-io/etcd/issues/18089). So `compact(R)` compacts etcd at R − 1, and a watch from R
  asks etcd from R − 1 and leaves that revision out: history then starts at C + 1, surely.
- A transaction has at most `--max-txn-ops` (128) writes and `--max-request-bytes` (1.5 MiB): `TooLarge`.
- Leases last whole seconds, and end up to a second late.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import TypeVar
from weakref import WeakSet

from weft.model.errors import Kind, WeftError
from weft.store.check import check_transaction, check_ttl
from weft.store.etcd.address import Address
from weft.store.etcd.client import PATIENCE, SILENCE, Client, EndpointError, Refusal, judged
from weft.store.etcd.keyspace import Keyspace, Range
from weft.store.etcd.messages import Answer, KeepAliveAnswer, LeaseAnswer, RangeAnswer, TxnAnswer, text
from weft.store.etcd.watch import EtcdWatch
from weft.store.store import Compare, Delete, Item, LeaseLost, Outcome, Prefix, Put, Snapshot, TooLarge
from weft.store.watch import Bell

_A = TypeVar("_A", Answer, RangeAnswer, LeaseAnswer, KeepAliveAnswer)

_PAGE = 5000
"""Keys of a range in one answer, so that none is huge and each comes soon."""

_RANGES = 16
"""Ranges in one request; etcd takes 128."""

_SNAPSHOTS = 5
"""Attempts at a snapshot whose revision is compacted while it is read."""

_COMPACTED = "required revision has been compacted"
_FUTURE = "required revision is a future revision"
_NO_LEASE = "requested lease not found"
_MOST_SECONDS = 9_000_000_000  # etcd's lease.MaxLeaseTTL


class EtcdStore:
    """A handle; connections are made when first needed, within the event loop that needs them."""

    def __init__(self, address: Address, *, patience: float = PATIENCE, silence: float = SILENCE) -> None:
        self._client = Client(address, patience=patience, silence=silence)
        self._keyspace = Keyspace(address.prefix)
        self._bell = Bell()
        self._watches: WeakSet[EtcdWatch] = WeakSet()

    @property
    def url(self) -> str:
        return self._client.url

    @property
    def endpoint(self) -> str:
        """host:port of the member that is asked first."""
        return self._client.endpoint

    async def snapshot(self, prefixes: Sequence[Prefix] = ("",)) -> Snapshot:
        ranges = self._keyspace.ranges(prefixes)
        for _ in range(_SNAPSHOTS):
            try:
                return await self._snapshot(ranges)
            except Refusal as refusal:
                # Compacted, or replaced by an older history, between two pages.
                if refusal.message not in (_COMPACTED, _FUTURE):
                    raise self._refused(refusal) from None
        raise WeftError(
            Kind.CONFLICT, "etcd is compacted faster than it can be read", where=self.url, remedy="compact less often"
        )

    async def _snapshot(self, ranges: Sequence[Range]) -> Snapshot:
        """All ranges in one request, and further pages of those that have more, at the first answer's revision."""
        found: list[list[Item]] = [[] for _ in ranges]
        asked = list(enumerate((wanted.key, wanted.range_end) for wanted in ranges))
        revision = 0
        while asked:
            some, asked = asked[:_RANGES], asked[_RANGES:]
            at, pages = await self._pages([place for _, place in some], revision)
            revision = revision or at
            for (number, (_, end)), page in zip(some, pages, strict=True):
                found[number] += [item for kv in page.kvs if (item := self._keyspace.item(kv))]
                if page.more and page.kvs:
                    asked.append((number, (text(page.kvs[-1].key + b"\0"), end)))
        return Snapshot(revision or await self._revision(), tuple(chain.from_iterable(found)))

    async def _pages(self, places: Sequence[tuple[str, str]], revision: int) -> tuple[int, Sequence[RangeAnswer]]:
        """The store's revision, and a page of each range (first key, end) at `revision`; 0: at the store's."""
        reads = [{"key": key, "range_end": end, "limit": _PAGE, "revision": revision} for key, end in places]
        if len(reads) == 1:
            page = await self._client.call("kv/range", reads[0], RangeAnswer)
            return page.header.revision, [page]
        together = {"success": [{"request_range": read} for read in reads]}
        answer = await self._client.call("kv/txn", together, TxnAnswer)
        if len(answer.responses) != len(places):
            raise self._client.unreachable({self.endpoint: EndpointError("it answers what was not asked")})
        return answer.header.revision, [done.response_range for done in answer.responses]

    async def _revision(self) -> int:
        request = {"key": self._keyspace.raw("\0"), "limit": 1, "keys_only": True}
        return (await self._call("kv/range", request, RangeAnswer)).header.revision

    def watch(self, prefixes: Sequence[Prefix], revision: int) -> EtcdWatch:
        self._client.session("watch")  # raises when closed
        watch = EtcdWatch(self._client, self._keyspace, self._bell, prefixes, revision)
        self._watches.add(watch)
        return watch

    async def transact(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete], *, durable: bool = True
    ) -> Outcome:
        check_transaction(compares, writes)
        request = {
            "compare": [
                {
                    "target": "MOD",
                    "result": "EQUAL",
                    "key": self._keyspace.raw(compare.key),
                    "mod_revision": compare.revision,
                }
                for compare in compares
            ],
            "success": [self._operation(write) for write in writes],
        }
        try:
            answer = await self._client.call("kv/txn", request, TxnAnswer, repeat=not compares)
        except Refusal as refusal:
            if refusal.message == _NO_LEASE:
                raise await self._lost(writes) from None
            if refusal.message in ("too many operations in txn request", "request is too large") or (
                "larger than max" in refusal.message
            ):
                raise TooLarge(refusal.message, self.url) from None
            raise self._refused(refusal) from None
        return Outcome(answer.succeeded, answer.header.revision)

    def _operation(self, write: Put | Delete) -> dict[str, object]:
        key = self._keyspace.raw(write.key)
        if isinstance(write, Delete):
            return {"request_delete_range": {"key": key}}
        return {"request_put": {"key": key, "value": text(write.value), "lease": write.lease}}

    async def _lost(self, writes: Sequence[Put | Delete]) -> LeaseLost:
        """etcd does not say which of a transaction's leases is gone."""
        leases = sorted({write.lease for write in writes if isinstance(write, Put) and write.lease})
        for lease in leases[:-1]:
            answer = await self._call("lease/timetolive", {"ID": lease}, LeaseAnswer)
            if answer.TTL <= 0:
                return LeaseLost(lease)
        return LeaseLost(leases[-1])

    # -- leases ---------------------------------------------------------------------------------------------------

    async def grant(self, ttl: float) -> int:
        check_ttl(ttl)
        seconds = min(math.ceil(ttl), _MOST_SECONDS)
        return (await self._call("lease/grant", {"TTL": seconds}, LeaseAnswer)).ID

    async def keep_alive(self, lease: int) -> None:
        answer = await self._call("lease/keepalive", {"ID": lease}, KeepAliveAnswer)
        if answer.error is not None:
            meaning = judged(answer.error)
            if isinstance(meaning, Refusal):
                raise self._refused(meaning)
            assert isinstance(meaning, EndpointError)
            raise self._client.unreachable({self.endpoint: meaning})
        if answer.result.TTL <= 0:
            raise LeaseLost(lease)

    async def remaining(self, lease: int) -> float:
        """Seconds until the lease ends by itself; raises `LeaseLost`."""
        answer = await self._call("lease/timetolive", {"ID": lease}, LeaseAnswer)
        if answer.TTL <= 0:
            raise LeaseLost(lease)
        return float(answer.TTL)

    async def revoke(self, lease: int) -> None:
        try:
            await self._client.call("lease/revoke", {"ID": lease}, Answer)
        except Refusal as refusal:
            if refusal.message != _NO_LEASE:
                raise self._refused(refusal) from None

    # -- the rest -------------------------------------------------------------------------------------------------

    async def compact(self, revision: int) -> None:
        if revision <= 1:
            return
        try:
            await self._client.call("kv/compaction", {"revision": revision - 1}, Answer)
        except Refusal as refusal:
            if refusal.message == _COMPACTED:
                return
            if refusal.message == _FUTURE:
                raise WeftError(
                    Kind.INVALID,
                    f"cannot compact to revision {revision}, the store does not stand there yet",
                    where=self.url,
                    remedy="use less",
                ) from None
            raise self._refused(refusal) from None

    async def hang_up(self) -> None:
        """The next call makes a new connection; none may be under way."""
        await self._client.hang_up()

    async def close(self) -> None:
        self._bell.close()
        for watch in list(self._watches):
            watch.stop()
        await self._client.close()

    async def _call(self, path: str, request: object, answer: type[_A]) -> _A:
        try:
            return await self._client.call(path, request, answer)
        except Refusal as refusal:
            raise self._refused(refusal) from None

    def _refused(self, refusal: Refusal) -> WeftError:
        return WeftError(Kind.FAILED, f"etcd says: {refusal.message}", where=self.url, remedy="see etcd's own log")
