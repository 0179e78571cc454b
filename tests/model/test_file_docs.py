"""docs/file.md tells of every key that the grammar has, and its examples parse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from weft.model.file import parse
from weft.model.schema import schema

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "file.md").read_text()


def test_every_key_is_told_of() -> None:
    body = schema()
    keys = {key for shape in [body, *body["$defs"].values()] for key in shape["properties"]}
    told = set(re.findall(r"[a-z_]+(?: order)?", " ".join(re.findall(r"`[^`\n]+`|^## .+$", PAGE, flags=re.MULTILINE))))
    assert len(keys) > 50
    assert keys - told == set()


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.+?)```", PAGE, flags=re.DOTALL))
def test_every_example_parses(example: str) -> None:
    document = parse({"file.md": example})
    assert document.trees["file.md"]
