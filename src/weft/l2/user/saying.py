"""What the forwarder's processes say: lines into a log, which are lost where it cannot be written.

A full file system is no reason for a worker's end not to be told, or for a packet to wait.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, TextIO


class Lossy:
    """A text stream; `write` and `flush` never fail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def begin() -> None:
    """For this process, from now on."""
    sys.stdout = sys.stderr = Lossy(sys.stderr)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
