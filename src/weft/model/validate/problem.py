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
_SYSCTL = {"all": "every device", "default": "devices to come"}
_OWN = re.compile(r"w[bxig][1-9][0-9]{0,7}(\.[1-9a-f][0-9a-f]{0,3})?|wp[-~].*")  # the law of weft.l2.names
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


def device_problem(path: Path, subject: str, name: str, *, inside: bool = False) -> list[Problem]:
    """`inside`: in a namespace that is not Weft's, where it may have Weft's names."""
    if not is_device(name):
        return [Problem(path, f"{subject}: {name!r} is not a device's name", f"Linux takes {DEVICE_LAW}")]
    if name == "lo":
        return [Problem(path, f"{subject}: lo is the loopback device, which is nobody's port", "name another device")]
    if name in _SYSCTL:
        what = f"{subject}: '{name}' stands for {_SYSCTL[name]} among the kernel's settings"
        return [Problem(path, f"{what} (net.ipv4.conf.{name})", "name another device")]
    if not inside and _OWN.fullmatch(name):
        what = f"{subject}: '{name}' is what Weft calls devices of its own"
        return [Problem(path, what, "name another device: wb, wx, wi and wg with a number, wp- and wp~ are Weft's")]
    return []


def suggestion(word: str, known: Iterable[str], kind: str) -> str:
    """Which of the known names was probably meant; else how to declare this one."""
    names = list(known)
    close = get_close_matches(word, names, 1, 0.65) if len(names) <= 2000 else []
    return f"did you mean {close[0]}?" if close else f"declare it under `{kind}s:`"
