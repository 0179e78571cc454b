"""How many processes forward."""

from __future__ import annotations

import os

import pytest

from weft.l2.user import count
from weft.model.errors import Kind, WeftError


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (64, 4)])
def test_auto_leaves_half_of_the_cores_to_others(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert count.workers("auto") == count.workers("") == workers


def test_the_environment_says_it_where_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(count.ENVIRONMENT, "3")
    assert (count.workers(), count.workers("5")) == (3, 5)


@pytest.mark.parametrize("text", ["0", "33", "-1", "1.5", "two", "²"])
def test_anything_else_is_refused_with_what_is_taken(text: str) -> None:
    with pytest.raises(WeftError, match="from 1 to 32, or auto") as refused:
        count.workers(text)
    assert refused.value.kind is Kind.USAGE
