"""Answers that no etcd gives: always an error of ours, within its time, never a crash or a hang."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.store.store_places import PATIENCE, soon
from weft.model.errors import Kind, WeftError
from weft.store import Change, Changes, Compacted, Compare, Put, Store
from weft.store.etcd import EtcdStore
from weft.store.etcd.address import Address

pytestmark = pytest.mark.system  # no package is needed, but a client that is patient by seconds

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HEADER = {"cluster_id": "1", "revision": "7", "raft_term": "2"}
EVENT = {"kv": {"key": "YQ==", "value": "MQ==", "mod_revision": "7"}}


@asynccontextmanager
async def server(
    handler: Handler, patience: float = PATIENCE, silence: float = PATIENCE
) -> AsyncIterator[tuple[EtcdStore, str]]:
    """A store whose only endpoint answers everything with `handler`."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    store = EtcdStore(Address((f"{host}:{port}",)), patience=patience, silence=silence)
    try:
        yield store, f"{host}:{port}"
    finally:
        await store.close()
        await runner.cleanup()


def answer(body: bytes, status: int = 200) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    return handler


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"header"')
    assert request.transport is not None
    request.transport.close()
    return response


async def dropped(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def silent(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(2 * PATIENCE)
    return web.Response()


async def elsewhere(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/another")


CALLS: list[Callable[[Store], Awaitable[object]]] = [
    lambda store: store.snapshot(["a"]),
    lambda store: store.transact([], [Put("a", b"")]),
    lambda store: store.transact([Compare("a", 1)], [Put("a", b"")]),
    lambda store: store.grant(5),
    lambda store: store.keep_alive(5),
    lambda store: store.revoke(5),
    lambda store: store.compact(5),
    lambda store: anext(store.watch(["a"], 1)),
]


@pytest.mark.parametrize(
    "handler",
    [
        answer(b""), answer(b"garbage"), answer(b"[]"), answer(b"null"), answer(b"\xff\xfe"), answer(b"[" * 100_000),
        answer(b"<html>"), answer(b"oops", 500), answer(b"{}", 503), answer(b'{"message": 5}', 500),
        answer(b'{"header": 1, "result": 1}'), answer(b'{"header": {"revision": "x"}, "result": {"header": 4}}'),
        answer(b'{"message": "no leader", "code": 14}', 503), answer(b"", 204), cut, dropped, silent, elsewhere,
    ],
)  # fmt: skip
def test_odd_answers_are_unreachable(handler: Handler) -> None:
    async def test() -> None:
        async with server(handler, 0.3, 0.2) as (store, endpoint):
            for call in CALLS:
                with pytest.raises(WeftError) as caught:
                    await soon(call(store))
                assert caught.value.kind is Kind.UNREACHABLE
                assert endpoint in str(caught.value)

    asyncio.run(test())


@pytest.mark.parametrize(
    "wrong",
    [
        {"kvs": [{"key": 7}]},
        {"kvs": {}},
        {"kvs": [{"key": "not base64"}]},
        {"header": {"revision": []}},
    ],
)
def test_wrong_types_in_a_snapshot(wrong: dict[str, object]) -> None:
    async def test() -> None:
        async with server(answer(json.dumps({"header": HEADER} | wrong).encode()), 0.3, 0.2) as (store, _):
            with pytest.raises(WeftError) as caught:
                await soon(store.snapshot())
            assert caught.value.kind is Kind.UNREACHABLE
            with pytest.raises(WeftError) as caught:
                await soon(store.snapshot(["a", "c"]))
            assert caught.value.kind is Kind.UNREACHABLE

    asyncio.run(test())


def test_a_key_that_is_no_text_is_not_ours() -> None:
    async def test() -> None:
        kvs = [{"key": "/w==", "mod_revision": "3"}, {"key": "YQ==", "value": "MQ==", "mod_revision": "4"}]
        async with server(answer(json.dumps({"header": HEADER, "kvs": kvs}).encode())) as (store, _):
            assert [item.key for item in (await store.snapshot()).items] == ["a"]

    asyncio.run(test())


def test_refusals_are_told_in_etcds_words() -> None:
    async def test() -> None:
        fault = b'{"message": "etcdserver: some new rule", "code": 3}'
        async with server(answer(fault, 400)) as (store, _):
            for call in CALLS:
                with pytest.raises(WeftError) as caught:
                    await soon(call(store))
                assert caught.value.kind is Kind.FAILED
                assert "some new rule" in str(caught.value)

    asyncio.run(test())


def watched(*lines: object) -> Handler:
    """Reads are answered well; every watch gets these lines (bytes as they are), and then its end."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("watch"):
            return web.json_response({"header": HEADER})
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(line if isinstance(line, bytes) else json.dumps({"result": line}).encode() + b"\n")
        return response

    return handler


@pytest.mark.parametrize(
    "lines",
    [
        [], [b"garbage\n"], [b'{"result": {"events": [{}]}}\n'], [b'{"result": {"events": [{"kv": 4}]}}\n'],
        [b"cut short"], [b'{"error": {"grpc_code": 14, "message": "no leader"}}\n'], [{"canceled": True}],
        [{"canceled": True, "cancel_reason": "etcdserver: no leader"}], [b'{"error": {}}\n'],
    ],
)  # fmt: skip
def test_odd_streams_are_unreachable_and_tried_again(lines: list[object]) -> None:
    async def test() -> None:
        async with server(watched(*lines)) as (store, _):
            watch = store.watch(["a"], 1)
            for _ in range(2):
                with pytest.raises(WeftError) as caught:
                    await soon(anext(watch))
                assert caught.value.kind is Kind.UNREACHABLE

    asyncio.run(test())


def test_messages_may_come_in_any_pieces() -> None:
    async def test() -> None:
        line = json.dumps({"result": {"header": HEADER, "events": [EVENT]}}).encode() + b"\n"
        async with server(watched(*(line[at : at + 1] for at in range(len(line))))) as (store, _):
            changes = await soon(anext(store.watch(["a"], 1)))
            assert changes == Changes(7, (Change("a", b"1", 7),))

    asyncio.run(test())


def test_fragments_are_put_together() -> None:
    async def test() -> None:
        second = {"kv": {"key": "YWI=", "mod_revision": "7"}, "type": "DELETE"}
        lines = [{"events": [EVENT], "fragment": True}, {"events": [second]}]
        async with server(watched(*lines)) as (store, _):
            changes = await soon(anext(store.watch(["a"], 1)))
            assert changes == Changes(7, (Change("a", b"1", 7), Change("ab", None, 7)))

    asyncio.run(test())


async def everything(watch: AsyncIterator[Changes], seen: list[Changes]) -> None:
    async for changes in watch:
        seen.append(changes)


def test_an_event_that_comes_late_makes_the_watch_start_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three answers vouched for a revision of which another part then turns up."""

    monkeypatch.setattr("weft.store.etcd.watch._SETTLE", 0)

    async def test() -> None:
        progress = {"header": HEADER, "watch_id": "-1"}
        lines = [
            {"created": True},
            {"created": True},
            {"events": [EVENT]},
            progress,
            progress,
            progress,
            {"events": [EVENT]},
        ]
        async with server(watched(*lines)) as (store, _):
            watch = store.watch(["a", "b"], 3)
            seen: list[Changes] = []
            with pytest.raises(Compacted):
                await soon(everything(watch, seen))
            assert len(seen) <= 1

    asyncio.run(test())
