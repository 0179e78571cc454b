"""In what two values of one dataclass differ, in words."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from weft.model.network import SegmentKey


def changes(there: Any, wanted: Any, *without: str) -> dict[str, str]:
    """Attribute → "name old → new" for every attribute in which two values of one dataclass differ.

    Of an attribute that is a dataclass itself, what differs within: "name: attribute old → new"."""
    return {
        field.name: _told(field.name, getattr(there, field.name), getattr(wanted, field.name))
        for field in fields(wanted)
        if field.name not in without and getattr(there, field.name) != getattr(wanted, field.name)
    }


def _told(name: str, before: object, after: object) -> str:
    if is_dataclass(before) and type(before) is type(after):
        return f"{name}: {', '.join(changes(before, after).values())}"
    return f"{name} {_text(before)} → {_text(after)}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple) and value and all(isinstance(item, tuple) for item in value):
        return ", ".join(" for ".join(map(str, reversed(item))) for item in value)  # outside for inside
    if isinstance(value, tuple) and not isinstance(value, SegmentKey):
        return " ".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)
