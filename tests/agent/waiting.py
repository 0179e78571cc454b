"""What agents in this process come to, sooner or later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds after which a test gives up; says nothing about how fast it should be."""


async def eventually(true: Callable[[], object]) -> bool:
    """Whether a callable becomes true while a test has patience."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not true():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True
