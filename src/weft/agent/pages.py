"""A few pages over HTTP/1.1 (RFC 9112), one request a connection: two pages need no web server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from weft.model.errors import Kind, WeftError

_PATIENCE = 5.0  # seconds for a client to say what it wants
_LONGEST = 8192  # octets of a request's head
NOT_READY = "503 Service Unavailable"


@dataclass(frozen=True, slots=True)
class Page:
    """`kind`: the media type."""

    body: bytes
    state: str = "200 OK"
    kind: str = "text/plain; charset=utf-8"


async def serve(host: str, port: int, pages: dict[str, Callable[[], Page]], remedy: str) -> asyncio.Server:
    """Answers by path until the server is closed; raises REFUSED, with the remedy, where nobody can listen there."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                request = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].split(b" ")
                page = _page(request, pages)
                head = f"HTTP/1.1 {page.state}\r\nContent-Type: {page.kind}\r\n"
                head += f"Content-Length: {len(page.body)}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode() + (b"" if request[0] == b"HEAD" else page.body))
                await writer.drain()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it went away, or had nothing to say
        finally:
            writer.close()

    try:
        return await asyncio.start_server(client, host, port, limit=_LONGEST)
    except OSError as error:
        known = (error.errno or 0) > 0  # an unknown name has a number of its own kind
        why = (os.strerror(error.errno or 0) if known else error.strerror or str(error)).lower()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise WeftError(Kind.REFUSED, f"cannot listen on {where}: {why}", remedy=remedy) from None


def _page(request: list[bytes], pages: dict[str, Callable[[], Page]]) -> Page:
    there = " and ".join(pages)
    if len(request) != 3 or request[0] not in (b"GET", b"HEAD"):
        return Page(f"GET {there}\n".encode(), "405 Method Not Allowed")
    make = pages.get(request[1].split(b"?")[0].decode(errors="replace"))
    return make() if make else Page(f"there are {there}\n".encode(), "404 Not Found")
