"""What commands print: aligned columns, JSON, colour on a terminal only, progress on a terminal only.

Everything that is printed may come from a store or a packet, so control characters never reach the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Protocol

_CONTROL = {code: "�" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}
_COLOURS = {"green": 32, "red": 31, "yellow": 33, "cyan": 36, "dim": 2, "bold": 1}
_OF_WORD = {
    "ok": "green",
    "yes": "green",
    "learned": "cyan",
    "extra": "yellow",
    "warn": "yellow",
    "stale": "yellow",
    "missing": "red",
    "differs": "red",
    "fail": "red",
    "no": "red",
}
_OF_SIGN = {"+": "green", "~": "yellow", "-": "red"}


class Tell(Protocol):
    """Takes a line of progress; the next one replaces it."""

    def __call__(self, text: str, /) -> None: ...


def say(text: str = "", *, error: bool = False) -> None:
    """One or more lines to standard output, or to standard error."""
    print(text.translate(_CONTROL) if not text.isprintable() else text, file=sys.stderr if error else sys.stdout)


def warn(text: str) -> None:
    """What a person should know, beside the answer: to standard error, so that it is never read as data."""
    say(f"weft: {text}", error=True)


def say_json(value: Any) -> None:
    """`value` as JSON, indented on a terminal and in files alike."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def colour(text: str, name: str) -> str:
    """`text` in a colour where standard output is a terminal that wants it; control characters taken out of it."""
    text = text.translate(_CONTROL)
    return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if name and coloured(sys.stdout) else text


def coloured(stream: IO[str]) -> bool:
    """Whether a stream takes colour: a terminal, no NO_COLOR (no-color.org), and not a dumb one."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def signed(line: str) -> str:
    """A line of a change (`+ …`, `~ …`, `- …`) in its colour."""
    return colour(line, _OF_SIGN.get(line[:1], ""))


def paint(line: str) -> None:
    """Prints a line made by `colour` or `signed`, which have made it safe."""
    print(line)


def columns(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> None:
    """Rows under their headings, aligned, two spaces apart; words that tell a state are coloured."""
    table = [[row.get(name, "").translate(_CONTROL) or "-" for name in names] for row in rows]
    heads = [name.upper().replace("_", " ") for name in names]
    widths = [max(map(len, column)) for column in zip(heads, *table, strict=True)]
    print("  ".join(head.ljust(width) for head, width in zip(heads, widths, strict=True)).rstrip())
    for cells in table:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        padded[-1] = padded[-1].rstrip()
        print("  ".join(_word(cell) for cell in padded).rstrip())


def _word(cell: str) -> str:
    name = _OF_WORD.get(cell.rstrip())
    return colour(cell, name) if name else cell


@contextmanager
def progress() -> Iterator[Tell]:
    """A line on standard error that says what goes on, where that is a terminal; nothing otherwise."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return

    def tell(text: str) -> None:
        width = os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 80
        sys.stderr.write(f"\r\x1b[K{text.translate(_CONTROL)[: max(width - 1, 1)]}")
        sys.stderr.flush()

    try:
        yield tell
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def age(seconds: float) -> str:
    """A span as people read it: 12s, 5m, 3h, 2d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def some(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
