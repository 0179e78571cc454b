"""The agent's local socket: what other processes of the host may ask it, and the client's side of it.

A unix stream socket `<directory>/<node>.sock`, mode 0600; the path is the same from every network namespace. One JSON
object a line each way: {"ask": "show", "table": "fdb"} is answered by {"rows": […]}, what fails by {"error", "kind"}.
The directory is /run/weft for root, $XDG_RUNTIME_DIR/weft for others, the lab's own in a lab.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec

from weft.agent import show
from weft.agent.agent import Agent
from weft.model.errors import Kind, WeftError

_LONGEST = 64 * 1024 * 1024  # octets of one answer: a table of some 100,000 rows


def default_directory() -> Path:
    """Where agents of this user keep sockets and locks."""
    if os.geteuid() == 0:
        return Path("/run/weft")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "weft" if runtime else Path.home() / ".local" / "state" / "weft" / "run"


def socket_path(directory: Path, node: str) -> Path:
    return directory / f"{node}.sock"


async def serve(agent: Agent, directory: Path) -> asyncio.Server:
    """Answers on the agent's socket until the server is closed."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = socket_path(directory, agent.node)
    path.unlink(missing_ok=True)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(msgspec.json.encode(_answer(agent, line)) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the client went away, or its line had no end
        finally:
            writer.close()

    server = await asyncio.start_unix_server(client, path)
    path.chmod(0o600)
    return server


def _answer(agent: Agent, line: bytes) -> dict[str, Any]:
    try:
        question = msgspec.json.decode(line, type=dict[str, str])
        if question.get("ask") == "show":
            if not agent.feed.loaded:
                raise WeftError(Kind.UNREACHABLE, f"the agent {(*agent.status.errors, 'has just started')[0]}")
            nodes = {node.vtep: node.name for node in agent.feed.world.nodes.values()}
            return {"rows": show.of(question.get("table", ""), agent.plan, agent.datapath, nodes)}
        if question.get("ask") == "status":
            return {"status": msgspec.to_builtins(agent.status)}
        raise WeftError(Kind.USAGE, f"unknown question {line!r}", remedy="ask `show` or `status`")
    except msgspec.MsgspecError as error:
        return {"error": str(error), "kind": Kind.USAGE}
    except WeftError as error:
        return {"error": str(error), "kind": error.kind}


async def ask(directory: Path, node: str, **question: str) -> dict[str, Any]:
    """One question to a node's agent; raises UNREACHABLE where none runs here, or the agent's own error."""
    path = socket_path(directory, node)
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=_LONGEST)
    except OSError as error:
        raise WeftError(
            Kind.UNREACHABLE,
            f"no agent of node {node} answers at {path} ({os.strerror(error.errno or 0)})",
            remedy=f"run this on that host, and there: weft agent --node {node}",
        ) from None
    try:
        writer.write(msgspec.json.encode(question) + b"\n")
        answer = msgspec.json.decode(await reader.readline(), type=dict[str, Any])
    finally:
        writer.close()
    if "error" in answer:
        raise WeftError(Kind(answer["kind"]), answer["error"])
    return answer
