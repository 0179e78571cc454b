"""The underlay fixture of the kernel tests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from tests.l2.l2_world import Underlay, join
from weft.netlink import namespace

_number = itertools.count()


@pytest.fixture
def underlay() -> Iterator[Underlay]:
    prefix = f"weft-t-{os.getpid()}-{next(_number)}-"
    world = Underlay(prefix, (f"{prefix}h1", f"{prefix}h2"))
    try:
        for host in ("h1", "h2"):
            world.namespace(host)
        join(world)
        yield world
    finally:
        for path in world.paths:
            path.close()
        for name in reversed(world.made):
            namespace.delete(name)
