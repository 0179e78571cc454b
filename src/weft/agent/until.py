"""Work that a signal ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def unless(stop: asyncio.Event, work: Coroutine[object, object, T]) -> T | None:
    """What `work` returns, None where `stop` came first; `work` has ended then.

    It is cancelled until it gives way: asyncio.wait_for may swallow a cancellation that meets its result (Python 3.11).
    """
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)
    return None if task.cancelled() else task.result()
