"""What README and docs say of the tree is there: links, packages, modules; and README's file is a good one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from weft.model.file import check, parse

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
WEFT = REPOSITORY / "src" / "weft"
ARCHITECTURE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_house_has_these_rooms() -> None:
    told = re.findall(r"^\| `(\w+)` \|", ARCHITECTURE.split("## The house")[1].split("\n## ")[0], re.MULTILINE)
    assert sorted(told) == sorted(path.parent.name for path in WEFT.glob("*/__init__.py"))


def test_every_module_that_the_architecture_names_is_there() -> None:
    named = re.findall(r"[`(/ ]((?:[a-z0-9_]+/)+[a-z0-9_]+\.py)", ARCHITECTURE)
    assert len(named) > 20
    assert [name for name in named if not (WEFT / name).exists()] == []


def test_readmes_file_is_a_good_one() -> None:
    (text,) = re.findall(r"```yaml\n(.+?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert check(parse({"README.md": text})).ports.keys() == {"a", "b"}
