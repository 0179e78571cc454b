"""A lab's flannel network: judged before anything is built, and waited for no longer than asked."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.l2.l2_world import PATIENCE
from weft.lab import flannel, lab, process, state
from weft.lab.state import LabState
from weft.lab.topology import Topology
from weft.model.errors import Kind, WeftError
from weft.model.file import parse
from weft.model.lab import FlannelNetwork

TEXT = """
nodes: {a: {vtep: 192.168.136.5}}
lab: {flannel: {config: {Network: 10.2.0.0/16, Backend: {Type: CONFIGURED}}, subnets: {a: SUBNET}}}
"""


@pytest.mark.parametrize(
    ("backend", "subnet", "line"),
    [
        ("host-gw", "10.2.5.0/24", "lab.flannel.config: backend type 'host-gw' is none that weft speaks; use vxlan"),
        ("vxlan, VNI: 99999999", "10.2.5.0/24", "lab.flannel.config: the backend's VNI is 99999999; use a number"),
        ("vxlan", "10.3.5.0/24", "lab.flannel.subnets: 10.3.5.0/24 of node 'a' is no subnet that the configuration"),
        ("vxlan", "10.2.5.0/25", "gives; use one of length 24 from 10.2.1.0 to 10.2.255.0"),
    ],
)
def test_a_mistake_is_told_before_anything_is_built(
    backend: str, subnet: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "create", lambda name: pytest.fail("the lab was begun"))
    document = parse({"t.yaml": TEXT.replace("CONFIGURED", backend).replace("SUBNET", subnet)})
    with pytest.raises(WeftError) as raised:
        lab.up(document, "never-built")
    assert raised.value.exit_code == 2
    assert line in str(raised.value)


def test_without_etcd_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flannel.shutil, "which", lambda name: None)
    with pytest.raises(WeftError, match="etcd is not installed; apt-get install etcd-server"):
        flannel.check(FlannelNetwork(config={"Network": "10.2.0.0/16"}, subnets={"a": "10.2.5.0/24"}))


def test_a_daemon_that_does_not_get_ready_is_waited_for_as_long_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def daemon(place: LabState, *rest: Any) -> None:
        process.write(place.directory / "flannel-a.pid", os.getpid())
        (place.directory / "flannel-a.log").write_text("waits for something\n")

    monkeypatch.setattr(flannel, "_etcd", lambda *rest: "")
    monkeypatch.setattr(flannel, "_bridge", lambda *rest: None)
    monkeypatch.setattr(flannel, "_daemon", daemon)
    place = cast(LabState, SimpleNamespace(directory=tmp_path))
    topology = cast(Topology, SimpleNamespace(machine=lambda host: SimpleNamespace(netns=host)))
    network = FlannelNetwork(config={}, subnets={"a": "10.2.5.0/24"})
    told: list[tuple[str, int, int]] = []
    begun = time.monotonic()
    with pytest.raises(WeftError, match="flannel-a did not get ready: waits for something") as raised:
        flannel.start(place, topology, network, begun + 0.2, lambda *what: told.append(what))
    assert raised.value.kind is Kind.FAILED
    assert time.monotonic() - begun < 30
    assert told == [("flannel nodes ready", 0, 1)]


@pytest.mark.system
def test_daemons_are_killed_before_their_etcd_is_asked_to_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = lab.up(parse({"t.yaml": "nodes: {a: {vtep: 192.168.136.5}}"}), name, agents=False)
    daemon = subprocess.Popen(["ip", "netns", "exec", f"weft-{name}-a", "sleep", "600"])
    process.write(place.directory / "flannel-a.pid", daemon.pid)
    monkeypatch.setattr(process, "stop", lambda *_: None)
    lab.down(name)
    assert daemon.wait(PATIENCE) == -signal.SIGKILL
