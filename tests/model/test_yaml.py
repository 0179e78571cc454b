"""YAML's traps, and texts made to hurt."""

from __future__ import annotations

import pytest

from weft.model.errors import WeftError
from weft.model.yaml import ALIASED_MAX, DEPTH_MAX, line_of, read


@pytest.mark.parametrize(
    "text", ["02:00:00:00:00:01", "10:20", "no", "off", "on", "1e3", "0x10", "012", "1_000", "2024-01-01"]
)
def test_a_scalar_stays_the_text_that_was_written(text: str) -> None:
    assert read(f"{{{text}: [{text}]}}", "f") == {text: [text]}


def test_only_plain_nothing_is_nothing() -> None:
    assert read('{a: , b: ~, c: null, d: "null", e: ""}', "f") == {
        "a": None,
        "b": None,
        "c": None,
        "d": "null",
        "e": "",
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_text_is_nothing(text: str) -> None:
    assert read(text, "f") is None


def test_lines_are_those_of_keys_and_members() -> None:
    tree = read("a:\n  b:\n    - x\n    - y\n  c: {d: 1,\n    e: 2}\n", "f")
    paths = [("a",), ("a", "b"), ("a", "b", 1), ("a", "c", "e"), ("a", "c", "nowhere"), ("a", "b", 7)]
    assert [line_of(tree, path) for path in paths] == [1, 2, 4, 6, 5, 2]


def test_an_alias_stands_for_its_value() -> None:
    assert read("{a: &x [1, 2], b: *x}", "f") == {"a": ["1", "2"], "b": ["1", "2"]}


def test_an_alias_bomb_is_refused_before_it_goes_off() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(WeftError, match=f"aliases repeat more than {ALIASED_MAX} values"):
        read("\n".join(levels), "f")


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000 + "x"])
def test_depth_is_refused_before_it_exhausts_anything(text: str) -> None:
    with pytest.raises(WeftError, match=f"deeper than {DEPTH_MAX}|not YAML"):
        read(text, "f")


@pytest.mark.parametrize(
    "text", ["a: \x00", "a: \ud800", "a: \x07", "%YAML 9.9\n---\na: b", "a: 'b", "a: b: c", "\tb: c"]
)
def test_what_is_not_yaml_is_told_so(text: str) -> None:
    with pytest.raises(WeftError, match=r"^f(:\d+)?: not YAML"):
        read(text, "f")
