"""`/metrics` and `/healthz` of an agent.

The address is the loopback's unless another is asked for: figures tell who talks how much, and nothing is encrypted.
"""

from __future__ import annotations

import asyncio

from weft.agent import metrics, pages
from weft.agent.agent import Agent
from weft.agent.pages import Page
from weft.model.errors import Kind, WeftError

_FIGURES = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text format


def address(text: str) -> tuple[str, int]:
    """("127.0.0.1", 9473) of "9473", ":9473" or "127.0.0.1:9473"; IPv6 in brackets. Raises USAGE."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise WeftError(Kind.USAGE, f"'{text}' is no address to listen on", remedy="use PORT or ADDRESS:PORT")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


async def serve(agent: Agent, where: str) -> asyncio.Server:
    """Answers at `where` until the server is closed; raises REFUSED where nobody can listen there."""
    figures = metrics.registry(agent)

    def healthz() -> Page:
        wrong = health(agent)
        return Page("".join(f"{line}\n" for line in wrong).encode(), pages.NOT_READY) if wrong else Page(b"ok\n")

    return await pages.serve(
        *address(where),
        {"/metrics": lambda: Page(metrics.text(figures), kind=_FIGURES), "/healthz": healthz},
        remedy="give --metrics another address, or stop what listens there",
    )


def health(agent: Agent) -> list[str]:
    """Why this node needs somebody; empty while all is well. A store out of reach is told, but traffic goes on."""
    if not agent.progressing():
        return ["the agent hangs"]
    store = [f"store: {agent.contact.error}"] if agent.contact.error else []
    if not agent.feed.loaded:
        return [*agent.status.errors] or ["the store has not answered yet"]
    return [] if agent.status.in_sync and not store else [*store, *agent.status.errors] or ["not in sync yet"]
