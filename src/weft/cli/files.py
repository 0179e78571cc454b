"""Reading the files of a command line; what they say is weft.model.file's to judge."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.model.file import Document

STDIN = "<stdin>"


def read(names: Sequence[str]) -> Document:
    """The document of all files together; `-` is standard input. Raises USAGE where one cannot be read, and INVALID."""
    from weft.model.file import parse

    return parse({STDIN if name == "-" else name: _text(name) for name in dict.fromkeys(names)})


def _text(name: str) -> str:
    try:
        return (sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise WeftError(
            Kind.USAGE, f"cannot be read: {error.strerror}", where=name, remedy="name a readable file, or - for stdin"
        ) from None
    except UnicodeDecodeError as error:
        raise WeftError(
            Kind.INVALID, f"octet {error.start} is not UTF-8", where=name, remedy="save it as UTF-8"
        ) from None
