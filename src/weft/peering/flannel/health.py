"""/healthz and /readyz over HTTP/1.1, as flannel's daemon has them, and what is wrong in words.

One request a connection (RFC 9112): two pages need no web server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from weft.model.errors import Kind, WeftError

_PATIENCE = 5.0  # seconds for a client to say what it wants
_LONGEST = 8192  # octets of a request's head


async def serve(ip: str, port: int, ready: Callable[[], bool], problems: Callable[[], list[str]]) -> asyncio.Server:
    """Answers until the server is closed; raises REFUSED where nobody can listen there.

    /healthz is 200 while the daemon runs: what etcd lacks stops no packet, and is told in the text. /readyz is 503
    until packets can pass.
    """

    def answer(path: str) -> tuple[str, str]:
        if path == "/healthz":
            return "200 OK", "".join(f"{line}\n" for line in problems()) or "ok\n"
        if path == "/readyz":
            return ("200 OK", "ready\n") if ready() else ("503 Service Unavailable", "not ready yet\n")
        return "404 Not Found", "there are /healthz and /readyz\n"

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                words = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].split(b" ")
                state, text = answer(words[1].split(b"?")[0].decode(errors="replace") if len(words) == 3 else "")
                head = f"HTTP/1.1 {state}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                head += f"Content-Length: {len(text.encode())}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode() + (b"" if words[0] == b"HEAD" else text.encode()))
                await writer.drain()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it went away, or had nothing to say
        finally:
            writer.close()

    try:
        return await asyncio.start_server(client, ip, port, limit=_LONGEST)
    except OSError as error:
        known = (error.errno or 0) > 0  # an unknown name has a number of its own kind
        why = (os.strerror(error.errno or 0) if known else error.strerror or str(error)).lower()
        raise WeftError(
            Kind.REFUSED,
            f"cannot listen on {ip} port {port}: {why}",
            remedy="give -healthz-ip or -healthz-port another, or stop what listens there",
        ) from None
