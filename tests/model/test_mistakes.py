"""Every mistake gets one clear line, with file and line: the table is mistakes.txt, read by people."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from weft.model.errors import Kind, WeftErrors
from weft.model.file import check, parse

TABLE = Path(__file__).with_name("mistakes.txt")


def cases() -> list[tuple[str, str, str]]:
    chunks = re.split(r"^# (.+)\n", TABLE.read_text().partition("\n\n")[2], flags=re.MULTILINE)[1:]
    return [
        (name, *(part.strip("\n") for part in re.split(r"^=>$", body + "\n=>\n", flags=re.MULTILINE)[:2]))  # type: ignore[misc]
        for name, body in zip(chunks[::2], chunks[1::2], strict=True)
    ]


def said(text: str) -> str:
    with pytest.raises(WeftErrors) as caught:
        check(parse({"f": text}))
    assert all(error.kind is Kind.INVALID for error in caught.value.errors)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in cases()], ids=[case[0] for case in cases()])
def test_each_mistake_is_told_with_its_line(text: str, expected: str) -> None:
    assert said(text + "\n") == expected


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert sum(len(expected.splitlines()) for _, _, expected in cases()) > 120
