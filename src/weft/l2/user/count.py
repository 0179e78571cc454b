"""How many processes forward."""

from __future__ import annotations

import os

from weft.model.errors import Kind, WeftError

ENVIRONMENT = "WEFT_WORKERS"
_MOST, _AUTO = 32, 4


def workers(text: str | None = None) -> int:
    """A number, or `auto`: half of the cores that this process may use, 1 to 4. None: as the environment says.

    Raises USAGE.
    """
    text = (os.environ.get(ENVIRONMENT) if text is None else text) or "auto"
    if text == "auto":
        return max(1, min(_AUTO, len(os.sched_getaffinity(0)) // 2))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST):
        remedy = f"--workers (or {ENVIRONMENT}) takes a number from 1 to {_MOST}, or auto"
        raise WeftError(Kind.USAGE, f"'{text}' is no number of forwarding processes", remedy=remedy)
    return int(text)
