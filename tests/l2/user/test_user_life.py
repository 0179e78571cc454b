"""What happens to forwarding when agents, forwarders and devices come and go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.frozen import freeze, thaw
from tests.l2.l2_world import BLUE, IPS, PATIENCE, Overlay, Underlay, bring, ip, reaches
from tests.l2.user.stage import AGENT, eventually, sha256, stage, stream, told, user
from weft.l2.user import control
from weft.l2.user.datapath import UserDatapath
from weft.l2.user.process import run_directory
from weft.model.errors import WeftError
from weft.model.network import Arp
from weft.netlink import namespace, sysctl
from weft.netlink.channel import Channel
from weft.netlink.links import Links
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed

pytestmark = pytest.mark.system

A4, B4 = (ips[0].split("/")[0] for ips in IPS)
B6 = IPS[1][1].split("/")[0]
LEARNING = Overlay(learning=True, arp=Arp.FLOOD)
REPOSITORY = Path(__file__).resolve().parents[3]


def test_forwarding_goes_on_when_the_agent_is_killed(underlay: Underlay) -> None:
    for name in "ab":
        underlay.namespace(name)
    bring(underlay.datapath(1), Overlay().plan(underlay, 1))
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, underlay.prefix],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
        cwd=REPOSITORY,
    )
    successor = user(underlay, 0)
    try:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"ready\n"
        forwarder = successor.pid
        agent.kill()
        agent.wait()
        assert reaches(underlay, B4)
        assert diff(Overlay().plan(underlay, 0), successor.observe()) == []
        assert successor.pid == forwarder is not None
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()  # type: ignore[union-attr]
        successor.stop()
        successor.close()


def test_a_dead_forwarder_is_told_and_replaced(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        assert isinstance(mine, UserDatapath)
        fd = mine.events_fd()
        assert fd is not None
        mine.events()
        first = mine.pid
        assert first is not None
        place = run_directory("default", mine.host)
        (place / "log").write_text("Traceback\nRuntimeError: why\n")
        os.kill(first, signal.SIGKILL)
        with capture_logs() as log:
            told(mine, "the forwarder ended")
        said = {"what": "the forwarder ended", "said": "RuntimeError: why"}
        assert log == [{"event": "forwarder", "log_level": "error"} | said]
        assert mine.observe() == Observed()
        assert bring(mine, Overlay().plan(underlay, 0))  # type: ignore[arg-type]
        assert reaches(underlay, B4)
        assert mine.pid != first
        assert (place / "log.before").read_text() == "Traceback\nRuntimeError: why\n"


def test_a_forwarder_that_hangs_is_told(underlay: Underlay, monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        assert isinstance(mine, UserDatapath)
        forwarder = mine.pid
        assert forwarder is not None
        freeze(forwarder)
        try:
            with monkeypatch.context() as patched:
                patched.setattr(control, "PATIENCE", 2.0)
                with pytest.raises(WeftError, match=f"the forwarder, process {forwarder}, does not answer") as told:
                    mine.observe()
                assert f"kill -9 {forwarder}" in told.value.remedy
                with pytest.raises(WeftError, match="does not answer"):
                    mine.apply(diff(Overlay().plan(underlay, 0), Observed()))
        finally:
            thaw(forwarder)
        assert diff(Overlay().plan(underlay, 0), mine.observe()) == []
        assert reaches(underlay, B4)


def test_applying_twice_does_nothing_and_cleanup_leaves_nothing(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        assert isinstance(mine, UserDatapath)
        assert bring(mine, Overlay().plan(underlay, 0)) == []  # type: ignore[arg-type]
        bring(mine, NodePlan("h1"))  # type: ignore[arg-type]
        assert mine.observe() == Observed()
        assert Links(Channel(namespace=f"{underlay.prefix}a")).get("eth0") is None
        assert mine.pid is not None
        mine.close()
        left = user(underlay, 0)
        assert eventually(lambda: left.pid is None)  # nothing to do, nobody there: it ended by itself
        left.close()


def test_drift_is_seen_and_mended(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        inside = f"{underlay.prefix}a"
        ip(inside, "ip", "address", "delete", IPS[0][0], "dev", "eth0")
        ip(inside, "ip", "link", "set", "eth0", "down")
        assert sorted(mine.observe().flaws["a"])[:2] == ["eth0 is down", f"eth0 lacks {IPS[0][0]}"]
        bring(mine, Overlay().plan(underlay, 0))  # type: ignore[arg-type]
        assert reaches(underlay, B4)
        fd = mine.events_fd()
        assert fd is not None
        ip(inside, "ip", "link", "delete", "eth0")
        told(mine, "port a: its device is gone")
        bring(mine, Overlay().plan(underlay, 0))  # type: ignore[arg-type]
        assert reaches(underlay, B4)


@pytest.mark.parametrize(
    "command",
    [
        "link set eth0 down",
        "link set eth0 address 02:00:00:00:00:77",
        "address delete 10.1.1.11/24 dev eth0",
        "address add 10.1.1.99/24 dev eth0",
    ],
)
def test_what_changes_inside_a_port_s_namespace_is_told_at_once(underlay: Underlay, command: str) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        assert isinstance(mine, UserDatapath)
        inside = f"{underlay.prefix}a"
        links = Links(Channel(namespace=inside))
        before = links.get("eth0")
        mine.events_fd()
        mine.events()
        ip(inside, "ip", *command.split())
        found = told(mine, "link changed" if "link" in command else "address")
        assert {event.segment for event in found} == {BLUE}
        assert bring(mine, Overlay().plan(underlay, 0))  # type: ignore[arg-type]
        after = links.get("eth0")
        assert before is not None
        assert after is not None
        assert after.index == before.index, "the device stays, and what others made of it"
        assert reaches(underlay, B4)


def test_a_namespace_without_ipv6_by_default_gets_what_is_declared(underlay: Underlay) -> None:
    """As routers' namespaces are; on both datapaths."""
    with stage(underlay, Overlay()) as paths:
        for host, path in enumerate(paths):
            inside, plan = f"{underlay.prefix}{'ab'[host]}", Overlay().plan(underlay, host)
            sysctl.write("ipv6/conf/default/disable_ipv6", 1, inside)
            bring(path, replace(plan, ports={}))  # type: ignore[arg-type]
            bring(path, plan)  # type: ignore[arg-type]
        assert reaches(underlay, B6)


def test_an_address_of_the_host_is_told(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        assert isinstance(mine, UserDatapath)
        mine.facts("h1", underlay.vteps[0])
        mine.events_fd()
        mine.events()
        ip(underlay.hosts[0], "ip", "address", "add", "192.168.33.77/24", "dev", "eth1")
        assert {event.segment for event in told(mine, "underlay: address added")} == {None}


def test_an_mtu_changes_in_place(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, other):
        small = Overlay(mtu=1300)
        for host, path in enumerate((mine, other)):
            bring(path, small.plan(underlay, host))  # type: ignore[arg-type]
        data = os.urandom(1 << 20)
        assert stream(f"{underlay.prefix}a", f"{underlay.prefix}b", B4, data) == sha256(data)


def test_a_forwarder_ends_with_its_host(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        assert isinstance(mine, UserDatapath)
        pid = mine.pid
        assert pid is not None
        namespace.delete(underlay.hosts[0])
        assert mine._client.started is not None
        assert mine._client.started.wait(PATIENCE) == 0
