"""The life of `weft agent`: however it ends and starts, traffic goes on and a restart is just another diff."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.life_process import PATIENCE, Fleet, none_lost
from tests.conftest import REPOSITORY
from tests.l2.l2_world import Underlay, ip
from tests.l2.test_kernel_ownership import FOREIGN, state

pytestmark = pytest.mark.system


@pytest.fixture
def fleet(underlay: Underlay, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(underlay, tmp_path)
    made.prepare()
    yield made
    made.stop()


def test_killed_and_started_again_loses_nothing_and_applies_nothing(fleet: Fleet) -> None:
    fleet.up()
    with fleet.probing() as probe:
        assert fleet.end(0, signal.SIGKILL) == -signal.SIGKILL
        time.sleep(0.3)
        fleet.forget(0)
        fleet.start(0)
        status = fleet.until(0, lambda status: status.in_sync)
        time.sleep(0.2)
    assert (status.operations, status.drift) == (0, 0)
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"


def test_started_with_a_changed_file_applies_the_difference_only(fleet: Fleet) -> None:
    fleet.up()
    with fleet.probing() as probe:
        fleet.end(0, signal.SIGKILL)
        fleet.apply(fleet.intent(remote=3))
        fleet.forget(0)
        fleet.start(0)
        status = fleet.until(0, lambda status: status.in_sync)
    assert status.operations == 2, "the FDB rows and the neighbor rows of two new ports"
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"


def test_a_graceful_stop_says_so_and_leaves_the_datapath(fleet: Fleet) -> None:
    fleet.up()
    with fleet.probing() as probe:
        assert fleet.end(0, signal.SIGTERM) == 0
        time.sleep(0.2)
    assert fleet.logged(0)[-1]["event"] == "stopped"
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"


def test_a_second_agent_of_the_node_is_refused(fleet: Fleet) -> None:
    fleet.up()
    second = subprocess.run(**fleet.command(0), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode == 1
    assert (
        f"an agent of node {fleet.nodes[0]} runs here already (pid {fleet.agents[fleet.nodes[0]].pid})" in second.stderr
    )


def _previous(to: Path) -> Path:
    """The sources of the commit before this one; this one's, where there is no history."""
    for commit in ("HEAD~1", "HEAD"):
        archive = subprocess.run(
            ["git", "-C", str(REPOSITORY), "archive", commit, "src"], capture_output=True, check=False
        )
        if archive.returncode == 0:
            subprocess.run(["tar", "-x", "-C", str(to)], input=archive.stdout, check=True)
            return to / "src"
    return REPOSITORY / "src"


def test_an_upgrade_from_the_previous_commit_applies_nothing(fleet: Fleet, tmp_path: Path) -> None:
    source = _previous(tmp_path)
    for host in (0, 1):
        fleet.start(host, source=source)
    for host in (0, 1):
        fleet.until(host, lambda status: status.in_sync and status.operations > 0)
    with fleet.probing() as probe:
        for host in (0, 1):
            fleet.end(host, signal.SIGTERM)
            fleet.forget(host)
            fleet.start(host)
            assert fleet.until(host, lambda status: status.in_sync).operations == 0
    assert none_lost(probe), f"{probe.lost} of {probe.sent}"


STRANGER = (*FOREIGN, "ip route add 198.51.100.0/24 via 192.168.33.13", "nft add table inet mine")


def everything(host: str) -> str:
    """What stands there once the kernel has come to rest: it tells of carriers from a queue of its own."""
    before, now = "", _everything(host)
    while before != now:
        time.sleep(0.5)
        before, now = now, _everything(host)
    return now


def _everything(host: str) -> str:
    routes = subprocess.run(["ip", "-n", host, "route"], capture_output=True, check=True, text=True).stdout
    return state(host) + routes


def test_strangers_survive_and_cleanup_leaves_nothing_of_ours(fleet: Fleet) -> None:
    host = fleet.world.hosts[0]
    for command in STRANGER:
        ip(host, *command.split())
    before = everything(host)
    fleet.up()
    with_ours = everything(host)
    assert set(before.splitlines()) <= set(with_ours.splitlines()) | {""}, "apply"
    fleet.end(0, signal.SIGKILL)
    fleet.forget(0)
    fleet.start(0)
    fleet.until(0, lambda status: status.in_sync)
    assert everything(host) == with_ours, "restart"
    ip(host, "ip", "link", "set", "wx5000", "down")
    fleet.until(0, lambda status: status.drift > 0 and status.in_sync)
    assert set(before.splitlines()) <= set(everything(host).splitlines()) | {""}, "drift and resync"
    fleet.end(0, signal.SIGTERM)
    done = subprocess.run(
        **fleet.command(0, "--cleanup"), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "- port a" in done.stdout
    assert everything(host) == before, "cleanup"
