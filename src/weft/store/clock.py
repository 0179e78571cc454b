"""The clock that leases run by: seconds since boot, suspend included, together with which boot it was.

CLOCK_BOOTTIME does not follow steps of the wall clock, is the same for every process of the machine, and counts while
the machine sleeps. It starts anew at a boot, so a time means something only with its boot id
(/proc/sys/kernel/random/boot_id, random(4)).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from weft.model.errors import Kind, WeftError

Clock = Callable[[], float]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boottime() -> float:
    """Seconds since boot, time asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """This boot's random name; `UNSUPPORTED` where /proc does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError as error:
        raise WeftError(
            Kind.UNSUPPORTED, f"cannot read the boot id: {error.strerror}", where=str(_BOOT_ID), remedy="mount /proc"
        ) from error
