"""What the text of a file's scalars means: numbers, switches, addresses, durations and sizes, as pydantic types.

Each type takes text (all that weft.model.yaml gives) and makes a canonical value or one error that says what to write.
Ranges are told to editors through the schema only; weft.model.validate enforces them, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from weft.model.address import parse_ip, parse_subnet, parse_unicast_mac
from weft.model.errors import WeftError

T = TypeVar("T")


class Shape(BaseModel):
    """A mapping of the file: keys are those of the fields (or their aliases), and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


def wrong(what: str, remedy: str = "") -> PydanticCustomError:
    """An error that keeps its remedy apart; weft.model.file turns it into a line."""
    return PydanticCustomError("weft", "{what}", {"what": what, "remedy": remedy})


def plain(value: object) -> str:
    """The text of a scalar; raises for mappings, lists and nothing."""
    if isinstance(value, str):
        return value.strip()
    if value is None:
        raise wrong("is empty", "write a value or leave the key out")
    raise wrong(f"is a {'mapping' if isinstance(value, dict) else 'list'}, not a single value")


def nearest(word: str, known: list[str]) -> str:
    """A remedy: the known word that was probably meant, or all of them where they are few."""
    close = get_close_matches(word, known, 1, 0.65)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known: {', '.join(known)}" if len(known) <= 20 else ""


def one_of(word: str, known: list[str]) -> str:
    if word not in known:
        close = get_close_matches(word, known, 1, 0.65)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise wrong(f"'{word}' is none of its values", f"write one of {', '.join(known)}{hint}")
    return word


def listed(value: Any) -> Any:
    """One value where several may stand."""
    return [value] if isinstance(value, str) else value


def _through(parse: Callable[[str], T]) -> BeforeValidator:
    def convert(value: object) -> T:
        try:
            return parse(plain(value))
        except WeftError as error:
            raise wrong(error.what, error.remedy) from None

    return BeforeValidator(convert, json_schema_input_type=str)


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
        raise wrong(f"'{text}' is not a whole number", "write it in plain decimal digits")
    return int(text)


def _switch(text: str) -> bool:
    word = text.lower()
    if word in {"true", "yes", "on"}:
        return True
    if word in {"false", "no", "off"}:
        return False
    raise wrong(f"'{text}' is neither true nor false", "write true or false")


_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|min|m|h)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, None: 1}


def parse_duration(text: str) -> float:
    """Seconds of `500ms`, `5s`, `2m` or a bare number of seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise wrong(f"'{text}' is not a duration", "write it as 5s, 500ms, 2m or a number of seconds")
    return round(float(match[1]) * _SECONDS[match[2]], 9)


def _whole_seconds(text: str) -> int:
    seconds = parse_duration(text)
    if seconds != int(seconds):
        raise wrong(f"'{text}' is not a whole number of seconds", "write it as 300 or 5m")
    return int(seconds)


_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kKMGT]?i?)B?", re.ASCII)
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: str) -> int:
    """Octets of `1000`, `100kB`, `100MB`, `1GiB`: powers of 1000, with `i` of 1024."""
    match = _SIZE.fullmatch(text)
    unit = match[2].upper() if match else ""
    if match is None or unit == "I":
        raise wrong(f"'{text}' is not a size", "write it as 1000, 100kB, 100MB or 1GiB")
    return int(float(match[1]) * (1024 if unit.endswith("I") else 1000) ** _POWER[unit.rstrip("I")])


Text = Annotated[str, BeforeValidator(plain, json_schema_input_type=str)]
Whole = Annotated[int, BeforeValidator(lambda value: _whole(plain(value)), json_schema_input_type=int)]
Switch = Annotated[bool, BeforeValidator(lambda value: _switch(plain(value)), json_schema_input_type=bool)]
Duration = Annotated[
    float, BeforeValidator(lambda value: parse_duration(plain(value)), json_schema_input_type=float | str)
]
WholeSeconds = Annotated[
    int, BeforeValidator(lambda value: _whole_seconds(plain(value)), json_schema_input_type=int | str)
]
Size = Annotated[int, BeforeValidator(lambda value: parse_size(plain(value)), json_schema_input_type=int | str)]
UnicastMac = Annotated[
    str,
    _through(parse_unicast_mac),
    Field(examples=["02:00:00:00:00:01"], json_schema_extra={"pattern": "^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"}),
]
Ip = Annotated[str, _through(parse_ip), Field(examples=["10.1.1.11", "2001:db8::11"])]
Subnet = Annotated[str, _through(parse_subnet), Field(examples=["10.1.1.0/24", "2001:db8:1::/64"])]
