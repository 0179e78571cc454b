"""/healthz and /readyz, as flannel's daemon has them, and what is wrong in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from weft.agent import pages
from weft.agent.pages import Page


async def serve(ip: str, port: int, ready: Callable[[], bool], problems: Callable[[], list[str]]) -> asyncio.Server:
    """Answers until the server is closed; raises REFUSED where nobody can listen there.

    /healthz is 200 while the daemon runs: what etcd lacks stops no packet, and is told in the text. /readyz is 503
    until packets can pass.
    """

    def healthz() -> Page:
        return Page("".join(f"{line}\n" for line in problems()).encode() or b"ok\n")

    def readyz() -> Page:
        return Page(b"ready\n") if ready() else Page(b"not ready yet\n", pages.NOT_READY)

    return await pages.serve(
        ip,
        port,
        {"/healthz": healthz, "/readyz": readyz},
        remedy="give -healthz-ip or -healthz-port another, or stop what listens there",
    )
