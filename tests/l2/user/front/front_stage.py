"""Two networks between two hosts, the first host's on two workers of one forwarder.

a, c ── [host 1: user, two workers] ── eth1 ═══ eth1 ── [host 2: kernel] ── b, d        blue: a, b; red: c, d
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.l2.l2_world import BLUE, Overlay, Underlay, bring
from weft.l2.kernel.datapath import KernelDatapath
from weft.l2.user.datapath import UserDatapath
from weft.model.network import SegmentKey
from weft.model.port import Attach
from weft.plan.node import NodePlan

RED = SegmentKey(4789, 5001)
NAMES = {BLUE: ("a", "b"), RED: ("c", "d")}


def plan(world: Underlay, host: int, overlay: Overlay | None = None) -> NodePlan:
    """Of both networks, which have the same hosts' MACs and addresses."""
    first = (overlay or Overlay()).plan(world, host)
    second = replace(overlay or Overlay(), key=RED).plan(world, host)
    (port,) = second.ports.values()
    name = NAMES[RED][host]
    red = replace(port, name=name, attach=Attach(kind=port.attach.kind, target=name))
    segments = first.segments | {RED: replace(second.segments[RED], network="red")}
    return NodePlan(first.node, segments, first.tables | second.tables, first.ports | {name: red})


def several(world: Underlay, host: int = 0, workers: int = 2) -> UserDatapath:
    return UserDatapath("default", world.hosts[host], lambda name: f"{world.prefix}{name}", workers)


@contextmanager
def networks(world: Underlay, overlay: Overlay | None = None) -> Iterator[tuple[UserDatapath, KernelDatapath]]:
    """Both hosts brought to their plans; the forwarder ends at the end."""
    for names in NAMES.values():
        for name in names:
            world.namespace(name)
    mine, other = several(world), world.datapath(1)
    try:
        bring(other, plan(world, 1, overlay))
        bring(mine, plan(world, 0, overlay))  # type: ignore[arg-type]
        yield mine, other
    finally:
        mine.close()
        last = several(world)
        last.stop()
        last.close()


def taps(pid: int) -> list[str]:
    """The TAP devices that a process holds."""
    found = []
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        found += re.findall(r"^iff:\s*(\S+)", file.read_text(), re.MULTILINE)
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
