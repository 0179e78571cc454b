"""The implementations that every store test runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.store.store_places import PLACES, Place

_PARAMS = [pytest.param(name, marks=[pytest.mark.system] if name == "etcd" else []) for name in sorted(PLACES)]


@pytest.fixture(params=_PARAMS)
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Place]]:
    """Makes new, empty stores of one implementation; the one before is over then."""
    made: list[Place] = []

    def make() -> Place:
        while made:
            made.pop().close()
        made.append(PLACES[request.param](tmp_path))
        return made[0]

    yield make
    for place in made:
        place.close()


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Place:
    return new_place()
