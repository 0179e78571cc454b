"""The underlay fixture of the kernel tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.l2.l2_world import Underlay, joined


@pytest.fixture
def underlay() -> Iterator[Underlay]:
    with joined() as world:
        yield world
