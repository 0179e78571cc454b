"""What the flannel tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peering.flannel.fabric import Fabric, fabric


@pytest.fixture
def hosts() -> Iterator[Fabric]:
    with fabric() as made:
        yield made
