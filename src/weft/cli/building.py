"""Where a command that builds a lab stands: in the lab's namespaces, and sure to clean up however it ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def building(name: str) -> Iterator[None]:
    """For the block, this process may build the lab `name`; an ordinary user's enters namespaces of its own for good.

    SIGTERM ends the block as an exception does, so that what it made is removed. A holder of namespaces that was
    started here for nothing is ended. Raises USAGE for a name that is none, UNSUPPORTED with the sysctl to set.
    """
    from weft.lab import rootless, state

    state.check_name(name)
    end_by_sigterm()
    if not rootless.needed():
        yield
        return
    rootless.hold(name)
    rootless.enter(name)
    try:
        yield
    finally:
        for place in state.every():
            if place.name == name and not (place.directory / "topology.json").exists():
                rootless.release(name)
                place.forget()


def end_by_sigterm() -> None:
    """From now on SIGTERM ends this process as an exception does: blocks are left, and what they made is removed."""
    signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
