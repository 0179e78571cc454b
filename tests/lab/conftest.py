"""Labs for tests: each with a name of its own and a private place for its record, gone afterwards whatever happened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.lab import lab, state

ROUTED = """
nodes:
  h1: {vtep: 192.168.33.12}
  h2: {vtep: 192.168.34.13}
networks:
  blue: {vni: 5000, subnet: 10.1.1.0/24}
ports:
  a: {network: blue, node: h1, ips: [10.1.1.11], attach: {namespace: a}}
  b: {network: blue, node: h2, ips: [10.1.1.12], attach: {namespace: b}}
lab:
  underlay:
    segments: {left: 192.168.33.0/24, middle: {subnet: 192.168.50.0/24, mtu: 1400}, right: 192.168.34.0/24}
    routers: {r1: [left, middle], r2: [middle, right]}
"""
ROUTED6 = (
    ROUTED.replace("192.168.33.12", "2001:db8:33::12")
    .replace("192.168.34.13", "2001:db8:34::13")
    .replace("192.168.33.0/24", "2001:db8:33::/64")
    .replace("192.168.34.0/24", "2001:db8:34::/64")
    .replace("192.168.50.0/24", "2001:db8:50::/64")
)


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A lab's name; labs are recorded below the test's own directory."""
    monkeypatch.setenv("WEFT_LABS", str(tmp_path / "labs"))
    yield f"t{os.getpid()}"
    for place in state.every():
        lab.down(place.name)
