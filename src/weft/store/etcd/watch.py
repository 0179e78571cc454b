"""A watch on etcd: one stream of its own, that notices when it is dead and goes on elsewhere without loss.

**The stream.** /v3/watch is gRPC's two-way stream over HTTP/1.1: requests are JSON documents in a request body that
never ends, answers are lines. Go's server sends its response header only once no read of the body is under way
(net/http, `body.mu`), unless it expects more than 256 KiB, where it does not drain the body first; so the body claims
a huge length and blank lines follow the request until the header is there.

**Whole transactions.** Each range is an etcd watcher; etcd gives all events of a revision in one message for each.
With one range a message is complete. With several, a revision may still have events in another watcher's message:
changes are held until three progress answers, one after the other, vouch for it. (Before 2023 an answer could
overtake events that stood ready, and did not wait for watchers that catch up: github.com/etcd-io/etcd/issues/15220.
So three are asked for, and none counts at first.) Should an event come late all the same, it is
never mixed in: the watch raises `Compacted`.

**Liveness.** A quiet stream is asked for progress every few seconds; no answer, and the watch moves to another
member. A member without a leader ends the stream itself (`hasleader`). Progress also moves the revision to go on
from, so that a quiet watch does not fall behind compaction.

**Going on.** A new stream starts after the last revision that was handed out, from a member that has just answered a
linearizable read; that read also shows whether the history was replaced (`Client.epoch`).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress

import aiohttp
import msgspec

from weft.model.errors import Kind, WeftError
from weft.store.etcd.client import Client, EndpointError, Refusal, failure, fault, judged
from weft.store.etcd.keyspace import Keyspace
from weft.store.etcd.messages import RangeAnswer, WatchAnswer, Watched, decode
from weft.store.store import Change, Changes, Compacted, Prefix
from weft.store.watch import Bell

QUIET = 2.0
"""Seconds without a word after which the stream is asked for one."""

_FAILURES = 3
"""Streams that may break one after the other, without a word between, before the caller hears of it."""

_NUDGE = 0.005
"""Seconds between blank lines until the response header is there."""

_ENDLESS = str(1 << 40)
_AGAIN = 0.1
"""Seconds after which it is asked again: some versions forget a request that came while a watcher was behind
(github.com/etcd-io/etcd/issues/17507)."""


_SETTLE = 0.3
"""Seconds after the last watcher was made before answers vouch for several: etcd looks after watchers that have to
catch up every 0.1 s, and older versions answer all the same."""


class Stream:
    """One two-way stream to one member."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.response: aiohttp.ClientResponse | None = None
        self._requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._rest = b""

    def send(self, request: object) -> None:
        self._requests.put_nowait(msgspec.json.encode(request) + b"\n")

    async def open(self, client: Client) -> None:
        """Until the response header is there; raises `EndpointError`, `Refusal`."""
        headers = await client.headers(self.endpoint) | {"Content-Length": _ENDLESS}
        nudging = asyncio.create_task(self._nudge())
        try:
            async with asyncio.timeout(client.silence):
                self.response = await client.session("watch").post(
                    f"{client.address.base(self.endpoint)}/v3/watch",
                    data=self._body(),
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=client.silence),
                )
            if self.response.status != 200:
                raise fault(self.response.status, await self.response.content.read(4096))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise failure(error, client.silence) from None
        finally:
            nudging.cancel()

    async def read(self) -> list[WatchAnswer]:
        """The next messages, at least one line's worth; cancelling loses nothing. Raises `EndpointError`."""
        assert self.response is not None
        try:
            chunk = await self.response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise EndpointError(f"the stream broke ({type(error).__name__})") from None
        if not chunk:
            raise EndpointError("the stream ended")
        *lines, self._rest = (self._rest + chunk).split(b"\n") if b"\n" in chunk else [self._rest + chunk]
        try:
            return [decode(line, WatchAnswer) for line in lines if line.strip()]
        except msgspec.DecodeError as error:
            raise EndpointError(f"what it answers is not etcd's ({error})") from None

    def close(self) -> None:
        self._requests.put_nowait(None)
        if self.response is not None:
            self.response.close()

    async def _body(self) -> AsyncGenerator[bytes, None]:
        while (request := await self._requests.get()) is not None:
            yield request

    async def _nudge(self) -> None:
        while True:
            await asyncio.sleep(_NUDGE)
            self._requests.put_nowait(b"\n")


class EtcdWatch(AsyncIterator[Changes]):
    """Changes from `revision` on, under any of the prefixes."""

    def __init__(
        self, client: Client, keyspace: Keyspace, bell: Bell, prefixes: Sequence[Prefix], revision: int
    ) -> None:
        self._client = client
        self._keyspace = keyspace
        self._bell = bell
        self._ranges = keyspace.ranges(prefixes)
        self._next = revision
        self._from = revision  # what the present stream was asked for
        self._epoch = client.epoch
        self._stream: Stream | None = None
        self._opening: asyncio.Task[Stream] | None = None
        self._ready: deque[Changes] = deque()
        self._held: dict[int, list[Change]] = {}
        self._vouched: int | None = None  # by the last progress answer, if the next is to confirm it
        self._confirmed = 0
        self._heard = self._asked = 0.0
        self._made, self._settles = 0, 0.0  # watchers of this stream, and when their answers begin to count
        self._failed: dict[str, EndpointError] = {}
        self._failures = 0
        self._over: Compacted | None = None

    async def __anext__(self) -> Changes:
        while not self._bell.closed:
            if self._ready:
                return self._ready.popleft()
            if self._over is not None:
                raise self._over
            try:
                await self._advance()
            except EndpointError as error:
                await self._moved(error)
            except Refusal as refusal:
                self._drop()
                raise WeftError(
                    Kind.FAILED, f"etcd says: {refusal.message}", where=self._client.url, remedy="see etcd's own log"
                ) from None
            except Compacted as over:
                self._drop()
                self._over = over
            except WeftError:
                if not self._bell.closed:
                    raise
        raise StopAsyncIteration

    def stop(self) -> None:
        """Ends the stream; the bell says that it is for good."""
        self._drop()

    def __del__(self) -> None:
        # A watch that nobody wants any more must not go on receiving; its loop may be gone already.
        with suppress(RuntimeError):
            self._drop()

    # -- the stream's life ----------------------------------------------------------------------------------------

    async def _advance(self) -> None:
        """Reads once, or sees to it that there is something to read."""
        if not self._ranges:
            await self._bell.wait(60)
            return
        if self._stream is None:
            if self._opening is None:
                self._opening = asyncio.create_task(self._open())
            opening = self._opening
            # A caller that gives up waiting does not start the opening anew.
            await asyncio.wait({opening})
            if opening.cancelled():
                return
            self._opening = None
            self._stream = opening.result()
            self._heard = self._now()
            self._asked = 0.0
            self._made = 0
        try:
            async with asyncio.timeout_at(self._patience()):
                answers = await self._stream.read()
        except TimeoutError:
            if self._asked and self._now() - self._asked >= self._client.silence:
                raise EndpointError(f"no word within {QUIET + self._client.silence:g} s") from None
            self._ask()
            return
        self._heard, self._asked = self._now(), 0.0
        for answer in answers:
            if answer.error is not None:
                raise judged(answer.error)
            if answer.result is not None:
                self._take(answer.result)
        if self._held and self._settled():
            self._ask()

    async def _open(self) -> Stream:
        probe = {"key": self._ranges[0].key, "range_end": self._ranges[0].range_end, "limit": 1, "keys_only": True}
        answer = await self._client.call("kv/range", probe, RangeAnswer)
        if self._client.epoch != self._epoch:
            raise Compacted(answer.header.revision + 1)
        stream = Stream(self._client.endpoint)
        self._from = self._next
        for number, wanted in enumerate(self._ranges, 1):
            stream.send(
                {
                    "create_request": {
                        "key": wanted.key,
                        "range_end": wanted.range_end,
                        "start_revision": max(1, self._from - 1),  # one early: see weft.store.etcd.store
                        "watch_id": number,
                    }
                }
            )
        try:
            await stream.open(self._client)
        except BaseException:
            stream.close()
            raise
        return stream

    async def _moved(self, error: EndpointError) -> None:
        """Leaves a member that failed; raises `UNREACHABLE` where they all do."""
        endpoint = self._stream.endpoint if self._stream else self._client.endpoint
        self._drop()
        if self._bell.closed:
            return
        self._client.avoid(endpoint)
        self._failed[endpoint] = error
        self._failures += 1
        if self._failures % _FAILURES == 0:
            failed, self._failed = self._failed, {}
            raise self._client.unreachable(failed)
        await self._bell.wait(random.uniform(0.05, 0.3))

    def _drop(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._held.clear()
        self._vouched = None

    def _ask(self) -> None:
        assert self._stream is not None
        self._stream.send({"progress_request": {}})
        self._asked = self._asked or self._now()

    def _patience(self) -> float:
        """When to stop waiting for the stream, by the loop's clock."""
        if self._held or self._asked:
            return self._now() + _AGAIN
        return self._heard + QUIET

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # -- what it says ---------------------------------------------------------------------------------------------

    def _take(self, said: Watched) -> None:
        if said.canceled:
            self._cancelled(said)
        elif said.events:
            self._failures = 0
            self._hold(said)
            if len(self._ranges) == 1 and not said.fragment:
                self._release(said.events[-1].kv.mod_revision)
        elif said.created:
            self._made += 1
            self._settles = self._now() + _SETTLE
        elif self._settled():
            self._failures = 0
            self._progress(said.header.revision)

    def _settled(self) -> bool:
        """Whether progress means all watchers: a single one needs none."""
        return len(self._ranges) == 1 or (self._made == len(self._ranges) and self._now() >= self._settles)

    def _hold(self, said: Watched) -> None:
        for event in said.events:
            revision = event.kv.mod_revision
            if revision < self._from:
                continue
            if revision < self._next:
                raise Compacted(self._next)  # it is late: what was handed out was not whole
            if self._vouched is not None and revision <= self._vouched:
                self._vouched = None  # the answer overtook it, and may have overtaken more
            change = self._keyspace.change(event.kv, deleted=event.type == "DELETE")
            if change is not None:
                self._held.setdefault(revision, []).append(change)

    def _progress(self, revision: int) -> None:
        """All up to `revision` has come, once two more answers came with nothing of it between."""
        if self._vouched is None:
            self._vouched, self._confirmed = revision, 0
            return
        self._confirmed += 1
        if self._confirmed == 2:
            self._release(self._vouched)
            self._vouched, self._confirmed = revision, 0

    def _release(self, revision: int) -> None:
        """Hands out what is held up to `revision`."""
        for held in sorted(held for held in self._held if held <= revision):
            self._ready.append(Changes(held, tuple(self._held.pop(held))))
        self._next = max(self._next, revision + 1)

    def _cancelled(self, said: Watched) -> None:
        if said.compact_revision:
            raise Compacted(said.compact_revision + 1)
        if "permission denied" in said.cancel_reason:
            raise WeftError(
                Kind.REFUSED,
                "etcd refuses the watch (permission denied)",
                where=self._client.url,
                remedy="give the user a role that may read the keys (docs/store.md)",
            )
        raise EndpointError(said.cancel_reason or "the watch was ended")
