"""`/metrics` and `/healthz` over HTTP/1.1 (RFC 9112), one request a connection: two pages need no web server.

The address is the loopback's unless another is asked for: figures tell who talks how much, and nothing is encrypted.
"""

from __future__ import annotations

import asyncio
import os

from weft.agent import metrics
from weft.agent.agent import Agent
from weft.model.errors import Kind, WeftError

_PATIENCE = 5.0  # seconds for a client to say what it wants
_LONGEST = 8192  # octets of a request's head
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def address(text: str) -> tuple[str, int]:
    """("127.0.0.1", 9473) of "9473", ":9473" or "127.0.0.1:9473"; IPv6 in brackets. Raises USAGE."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise WeftError(Kind.USAGE, f"'{text}' is no address to listen on", remedy="use PORT or ADDRESS:PORT")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


async def serve(agent: Agent, where: str) -> asyncio.Server:
    """Answers at `where` until the server is closed; raises REFUSED where nobody can listen there."""
    host, port = address(where)
    figures = metrics.registry(agent)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_answer(agent, figures, head.split(b"\r\n", 1)[0].split(b" ")))
                await writer.drain()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it went away, or had nothing to say
        finally:
            writer.close()

    try:
        return await asyncio.start_server(client, host, port, limit=_LONGEST)
    except OSError as error:
        raise WeftError(
            Kind.REFUSED,
            f"cannot listen on {where}: {os.strerror(error.errno or 0).lower()}",
            remedy="give --metrics another address, or stop what listens there",
        ) from None


def _answer(agent: Agent, figures: object, request: list[bytes]) -> bytes:
    if len(request) != 3 or request[0] not in (b"GET", b"HEAD"):
        return _page("405 Method Not Allowed", b"GET /metrics or /healthz\n", request)
    path = request[1].split(b"?")[0]
    if path == b"/metrics":
        return _page("200 OK", metrics.text(figures), request)
    if path == b"/healthz":
        if wrong := health(agent):
            return _page("503 Service Unavailable", "".join(f"{line}\n" for line in wrong).encode(), request)
        return _page("200 OK", b"ok\n", request)
    return _page("404 Not Found", b"there are /metrics and /healthz\n", request)


def health(agent: Agent) -> list[str]:
    """Why this node needs somebody; empty while all is well. A store out of reach is told, but traffic goes on."""
    if not agent.progressing():
        return ["the agent hangs"]
    store = [f"store: {agent.contact.error}"] if agent.contact.error else []
    if not agent.feed.loaded:
        return [*agent.status.errors] or ["the store has not answered yet"]
    return [] if agent.status.in_sync and not store else [*store, *agent.status.errors] or ["not in sync yet"]


def _page(state: str, body: bytes, request: list[bytes]) -> bytes:
    head = f"HTTP/1.1 {state}\r\nContent-Type: {_TEXT}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if request[0] == b"HEAD" else body)
