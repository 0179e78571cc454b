"""In what two values of one dataclass differ, in words."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from weft.model.network import SegmentKey


def changes(there: Any, wanted: Any, *without: str) -> dict[str, str]:
    """Attribute → "name old → new" for every attribute in which two values of one dataclass differ."""
    return {
        field.name: f"{field.name} {_text(getattr(there, field.name))} → {_text(getattr(wanted, field.name))}"
        for field in fields(wanted)
        if field.name not in without and getattr(there, field.name) != getattr(wanted, field.name)
    }


def _text(value: object) -> str:
    if isinstance(value, tuple) and not isinstance(value, SegmentKey):
        return " ".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)
