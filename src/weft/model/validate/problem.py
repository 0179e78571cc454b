"""What a check finds: where, what is wrong, and what to do. And the laws of names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_DEVICE = re.compile(r"[^/\s:\x00-\x20\x7f]{1,15}")
NAME_LAW = "1 to 63 letters, digits, dots, _ and -, the first a letter or digit"
DEVICE_LAW = "1 to 15 characters without space, slash or colon"  # Linux: IFNAMSIZ, dev_valid_name()


@dataclass(frozen=True, slots=True)
class Problem:
    """`path` leads to the value in the file: ("ports", "a", "ips", 0). `what` and `remedy` are one line together."""

    path: Path
    what: str
    remedy: str = ""


def name_problem(path: Path, kind: str, name: str) -> list[Problem]:
    """Names become keys of the store and parts of device names and of paths: nothing in them may be special."""
    if _NAME.fullmatch(name):
        return []
    return [Problem(path, f"{kind} {name!r}: not a name", f"names are {NAME_LAW}")]


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def is_device(name: str) -> bool:
    """Whether Linux takes this as a device's name, and every tool as a word (no option, no pattern)."""
    return bool(_DEVICE.fullmatch(name)) and name not in {".", ".."} and name[0] != "-" and name.isascii()


def suggestion(word: str, known: Iterable[str], kind: str) -> str:
    """Which of the known names was probably meant; else how to declare this one."""
    names = list(known)
    close = get_close_matches(word, names, 1, 0.65) if len(names) <= 2000 else []
    return f"did you mean {close[0]}?" if close else f"declare it under `{kind}s:`"
