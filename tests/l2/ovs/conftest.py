"""Two hosts, each with an Open vSwitch of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.l2.l2_world import PATIENCE, Overlay, Underlay
from weft.l2.ovs import process
from weft.l2.ovs.datapath import OvsDatapath
from weft.l2.ovs.ofctl import Ofctl
from weft.l2.ovs.ovsdb import Ovsdb
from weft.model.port import AttachKind


@dataclass
class Switches:
    """`world`: the underlay; each host's Open vSwitch has its sockets in `places`."""

    world: Underlay
    places: list[Path]
    running: list[process.Instance]
    opened: list[OvsDatapath] = field(default_factory=list)

    def datapath(self, host: int, cluster: str = "default") -> OvsDatapath:
        path = OvsDatapath(
            cluster, self.world.hosts[host], lambda name: f"{self.world.prefix}{name}", self.places[host]
        )
        self.opened.append(path)
        return path

    def flows(self, host: int, bridge: str = "br-tun") -> Ofctl:
        return Ofctl(self.places[host] / f"{bridge}.mgmt")

    def database(self, host: int) -> Ovsdb:
        return Ovsdb(self.places[host] / "db.sock")

    def restart(self, host: int, *options: str) -> None:
        """ovs-vswitchd killed and started anew: without flows, its ports bare."""
        end(self.running[host].switch)
        pid = process.start_switch(self.places[host], self.world.hosts[host], *options)
        self.running[host] = process.Instance(self.places[host], self.running[host].database, pid)

    def namespaces(self, overlay: Overlay) -> None:
        if overlay.kind is AttachKind.NAMESPACE:
            for name in "ab":
                self.world.namespace(name)


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture
def switches(underlay: Underlay, tmp_path: Path) -> Iterator[Switches]:
    places = [tmp_path / "o1", tmp_path / "o2"]
    running: list[process.Instance] = []
    world = Switches(underlay, places, running)
    try:
        for place, host in zip(places, underlay.hosts, strict=True):
            running.append(process.start(place, host))
        yield world
    finally:
        for path in world.opened:
            path.close()
        for instance in running:
            end(instance.switch)
            end(instance.database)


def eventually(true: object) -> bool:
    """Whether a condition comes true while a test has patience."""
    assert callable(true)
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
