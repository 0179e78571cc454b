"""`weft agent` as a service manager runs it: starts, keeps, ends on SIGTERM with the datapath in place, cleans up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import Weft

pytestmark = pytest.mark.system

LONE = """\
nodes:
  {node}: {{vtep: 192.168.33.1}}
  far: {{vtep: 192.168.33.2}}
networks:
  blue: {{vni: 5000, subnet: 10.1.1.0/24}}
ports:
  here: {{network: blue, node: {node}, attach: host}}
  there: {{network: blue, node: far, attach: host}}
"""


ALONE = 'mkdir -p /run/weft && mount --bind "$0" /run/weft && exec "$@"'


@dataclass(frozen=True)
class Host:
    """A namespace with a VTEP address, and `weft` inside it, whose /run/weft is `sockets`: this machine's other agents
    are not seen there."""

    weft: Weft
    namespace: str
    node: str
    sockets: Path

    def command(self, *arguments: str) -> list[str]:
        enter = ["ip", "netns", "exec", self.namespace, "sh", "-c", ALONE, str(self.sockets)]  # with mounts of its own
        return [*enter, sys.executable, "-m", "weft", *arguments]

    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=False, env=self.environment()
        )

    def links(self) -> set[str]:
        shown = subprocess.run(["ip", "-n", self.namespace, "-j", "link"], capture_output=True, text=True, check=True)
        return {link["ifname"] for link in json.loads(shown.stdout)}


@pytest.fixture
def host(weft: Weft) -> Iterator[Host]:
    name = f"t{os.getpid()}"
    made = Host(weft, f"weft-{name}", name, weft.directory / "agents")
    made.sockets.mkdir()
    ip = ["ip", "-n", made.namespace]
    subprocess.run(["ip", "netns", "add", made.namespace], check=True)
    try:
        for words in ("link add eth1 type veth peer name eth1p", "link set eth1 up", "link set eth1p up"):
            subprocess.run([*ip, *words.split()], check=True)
        subprocess.run([*ip, "address", "add", "192.168.33.1/24", "dev", "eth1"], check=True)
        assert weft.apply(LONE.format(node=name)).code == 0
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", made.namespace], check=True)


@contextmanager
def ended(running: subprocess.Popen[str]) -> Iterator[None]:
    """SIGTERM after the block; a process that does not heed it is killed, and the test fails by its exit code."""
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()


def in_sync(host: Host, running: subprocess.Popen[str]) -> None:
    """Reads the agent's log until it has applied."""
    assert running.stderr
    for line in running.stderr:
        if json.loads(line)["event"] == "applied":
            return
    pytest.fail("the agent ended")


def test_an_agents_life(host: Host) -> None:
    running = subprocess.Popen(
        host.command("agent", "--node", host.node, "--log", "json"),
        stderr=subprocess.PIPE,
        text=True,
        env=host.environment(),
    )
    with ended(running):
        in_sync(host, running)
        second = host.run("agent", "--node", host.node)
        assert second.returncode == 1
        assert f"an agent of node {host.node} runs here already (pid {running.pid})" in second.stderr
        rows = json.loads(host.run("show", "fdb", "--node", host.node, "-o", "json").stdout)
        assert [(row["vtep"], row["state"]) for row in rows] == [("192.168.33.2", "ok")]
        assert {"wb5000", "wx5000"} <= host.links()
    assert running.returncode == 0
    assert not list(host.sockets.iterdir()), "neither socket nor lock is left"
    assert {"wb5000", "wx5000"} <= host.links()
    looked = host.run("show", "fdb", "--node", host.node, "-o", "json")
    assert json.loads(looked.stdout) == rows
    assert "looking at the datapath instead" in looked.stderr
    blind = host.run("--store", "sqlite:///nowhere/weft.db", "show", "fdb", "--node", host.node, "-o", "json")
    assert [(row["vtep"], row["state"]) for row in json.loads(blind.stdout)] == [("192.168.33.2", "held")]
    assert "so what was planned is not known" in blind.stderr
    cleaned = host.run("agent", "--node", host.node, "--cleanup")
    assert cleaned.returncode == 0, cleaned
    assert "- segment 5000 (blue)" in cleaned.stdout
    assert host.links() & {"wb5000", "wx5000"} == set()
    assert host.run("agent", "--node", host.node, "--cleanup").stdout == "nothing of ours is here\n"
    nothing = host.run("--store", "sqlite:///nowhere/weft.db", "show", "fdb", "--node", host.node)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    after = host.run("status")
    assert after.returncode == 1, "a node that holds nothing any more is not in sync"
    assert f"{host.node}  no" in after.stdout, after
    elsewhere = host.run("--cluster", "other", "show", "fdb", "--node", host.node)
    assert elsewhere.returncode == 1 or "blue" not in elsewhere.stdout, "another cluster's agent does not answer"


def test_a_killed_agents_socket_is_not_taken_for_an_agent(host: Host) -> None:
    running = subprocess.Popen(
        host.command("agent", "--node", host.node, "--log", "json"),
        stderr=subprocess.PIPE,
        text=True,
        env=host.environment(),
    )
    with ended(running):
        in_sync(host, running)
        running.kill()
        running.wait()
    left = host.sockets / f"{host.node}.sock"
    assert left.exists()
    assert {"wb5000", "wx5000"} <= host.links()
    assert host.run("show", "fdb").stderr.startswith("weft: which node?")
    again = host.run("agent", "--node", host.node, "--cleanup")
    assert again.returncode == 0, "the lock went with its holder"
    left.unlink()


def test_an_agent_waits_for_its_store(host: Host) -> None:
    nowhere = f"sqlite:///{host.weft.directory.relative_to('/')}/late/weft.db"
    (host.weft.directory / "late").write_text("a file where the directory should be")
    running = subprocess.Popen(
        host.command("agent", "--node", host.node, "--log", "json", "--store", nowhere),
        stderr=subprocess.PIPE,
        text=True,
        env=host.environment(),
    )
    with ended(running):
        assert running.stderr
        assert json.loads(running.stderr.readline())["event"] == "started"
        first = json.loads(running.stderr.readline())
        assert first["event"] == "store"
        assert "late/weft.db" in first["error"]
        (host.weft.directory / "late").unlink()
        assert host.weft("apply", "-f", "fleet.yaml", "--store", nowhere).code == 0
        in_sync(host, running)
    assert running.returncode == 0


def agent(host: Host, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        host.command("agent", "--node", host.node, "--log", "json", *more),
        stderr=subprocess.PIPE,
        text=True,
        env=host.environment(),
    )


@pytest.mark.parametrize(
    ("datapath", "workers", "said"),
    [
        ("kernel", "2", "datapath kernel has no forwarding processes"),
        ("user", "0", "'0' is no number of forwarding processes"),
        ("user", "many", "takes a number from 1 to 32, or auto"),
    ],
)
def test_a_wrong_number_of_forwarding_processes_is_refused(host: Host, datapath: str, workers: str, said: str) -> None:
    refused = host.run("agent", "--node", host.node, "--datapath", datapath, "--workers", workers)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert not {"wb5000", "wx5000"} & host.links()


def test_a_node_has_the_datapath_that_it_is_declared_with_and_one_at_a_time(host: Host) -> None:
    with ended(running := agent(host)):
        in_sync(host, running)
    assert {"wb5000", "wx5000"} <= host.links()
    assert host.weft.apply(LONE.format(node=host.node).replace("33.1}", "33.1, datapath: user}")).code == 0
    refused = host.run("agent", "--node", host.node)
    assert refused.returncode == 1
    assert "this host still forwards 1 segment by datapath kernel" in refused.stderr
    assert "--cleanup` takes them down" in refused.stderr
    told = json.loads(host.run("doctor", "--node", host.node, "-o", "json").stdout)
    failed = {check["name"]: check["what"] for check in told if check["state"] == "fail"}
    assert "still forwards 1 segment by datapath kernel" in failed["datapath"]
    assert "4789 is held by our own datapath kernel" in failed["udp port"]
    with ended(running := agent(host, "--datapath", "kernel")):
        deadline = time.monotonic() + 60
        while "this host stays as it is" not in host.run("status").stdout:
            assert time.monotonic() < deadline, host.run("status")
        assert f"`weft agent --node {host.node} --cleanup`" in host.run("status").stdout
    assert {"wb5000", "wx5000"} <= host.links()
    assert host.run("agent", "--node", host.node, "--cleanup").returncode == 0
    try:
        with ended(running := agent(host)):
            in_sync(host, running)
        assert {"wb5000"} == host.links() & {"wb5000", "wx5000"}, "a TAP of the forwarder"
    finally:
        cleaned = host.run("agent", "--node", host.node, "--cleanup")
    assert "- segment 5000 (blue)" in cleaned.stdout
    assert host.links() & {"wb5000", "wx5000"} == set()
