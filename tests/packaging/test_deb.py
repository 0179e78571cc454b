"""The Debian package in a clean root tree: installed, started, upgraded, removed, purged; the datapath outlives it all.

The tree is a minimal Debian (debootstrap, some 40 s) with the one package that weft depends on.
The agent runs in it by chroot, in a network namespace of its own, with a service manager's socket of ours.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.l2.conftest import underlay
from tests.l2.l2_world import Underlay
from tests.store.etcd_server import Member
from weft.netlink import namespace

__all__ = ["underlay"]
pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]  # debootstrap takes minutes on a busy machine

PATIENCE = 120.0
MIRROR = "http://deb.debian.org/debian"
FILE = """
nodes:
  h1: {vtep: 192.168.33.12}
  h2: {vtep: 192.168.33.13}
networks:
  blue: {vni: 5000, subnet: 10.1.1.0/24}
ports:
  a: {network: blue, node: h1, ips: [10.1.1.11], attach: host}
  b: {network: blue, node: h2, ips: [10.1.1.12], attach: host}
"""


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([REPOSITORY / "packaging/build-deb", sys.executable, out], check=True, capture_output=True)
    (made,) = out.glob("*.deb")
    return made


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, deb: Path) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("root")
    make = ["debootstrap", "--variant=minbase", "--include=python3", "bookworm", root, MIRROR]
    done = subprocess.run(make, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    shutil.copy(deb, root / "weft.deb")
    yield root
    shutil.rmtree(root)


def inside(tree: Path, *words: str, netns: str = "", **environment: str) -> dict[str, Any]:
    """How to run a command in the tree, with /proc of its own; what `subprocess` takes."""
    script = f'mount -t proc proc {tree}/proc && exec chroot {tree} "$@"'
    enter = ["ip", "netns", "exec", netns] if netns else ["unshare", "--mount"]
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    return {"args": [*enter, "sh", "-c", script, "sh", *words], "env": path | environment}


def run(tree: Path, *words: str, **environment: str) -> str:
    done = subprocess.run(
        **inside(tree, *words, **environment), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unit(name: str) -> list[str]:
    return (REPOSITORY / f"packaging/{name}.service").read_text().splitlines()


def started(tree: Path, netns: str, name: str = "weft-agent", **settings: str) -> subprocess.Popen[bytes]:
    """The agent, or what else a unit starts, as the unit starts it, once it has said that it is ready."""
    place = tree / "run/notify"
    place.unlink(missing_ok=True)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(place))
    manager.settimeout(PATIENCE)
    command = next(line.removeprefix("ExecStart=") for line in unit(name) if line.startswith("ExecStart="))
    words = [word for word in command.split() if not word.startswith("$")]
    settings = settings or {"WEFT_NODE": "h1", "WEFT_METRICS": "127.0.0.1:9473"}
    settings["NOTIFY_SOCKET"] = "/run/notify"
    agent = subprocess.Popen(**inside(tree, *words, netns=netns, **settings), stderr=subprocess.PIPE)
    said = ""
    try:
        while "READY=1" not in said:
            said += manager.recv(4096).decode() + "\n"
    except TimeoutError:
        agent.kill()
        pytest.fail(f"not ready, but {said!r}: {agent.communicate()[1].decode()}")
    assert "STATUS=in sync" in said or name != "weft-agent"
    manager.close()
    return agent


def forwards(world: Underlay) -> bool:
    names = {link.name for link in world.links(0).dump()}
    return {"wb5000", "wx5000"} <= names


def ended(agent: subprocess.Popen[bytes], number: int) -> None:
    agent.send_signal(number)
    agent.communicate(timeout=PATIENCE)


def flannel(tree: Path, netns: str) -> None:
    """The second unit, with its variables; started anew it keeps its lease, and what it has made outlives it."""
    (tree / "etcd").mkdir()
    member = Member(tree / "etcd", namespace=netns)
    member.start()
    try:
        member.wait_ready()
        config = '{"Network": "10.2.0.0/16", "Backend": {"Type": "vxlan"}}'
        member.etcdctl("put", "/coreos.com/network/config", config)
        given = dict(line[len("Environment=") :].split("=", 1) for line in unit("weft-flannel") if "=FLANNELD_" in line)
        given |= {"FLANNELD_ETCD_ENDPOINTS": f"http://{member.endpoint}", "FLANNELD_IFACE": "eth1"}
        subnets = set()
        for number in (signal.SIGKILL, signal.SIGTERM):
            daemon = started(tree, netns, "weft-flannel", **given)
            subnets.add((tree / "run/flannel/subnet.env").read_text())
            ended(daemon, number)
        assert len(subnets) == 1
        assert "192.168.33.12" in member.etcdctl("get", "--prefix", "/coreos.com/network/subnets/")
        links = subprocess.run(["ip", "-n", netns, "link"], capture_output=True, text=True, check=True).stdout
        assert "flannel.1" in links
    finally:
        member.stop()


def test_installed_started_upgraded_removed_purged(underlay: Underlay, tree: Path) -> None:
    run(tree, "dpkg", "--install", "/weft.deb")
    assert run(tree, "weft", "--version").startswith("weft ")
    assert (tree / "usr/lib/systemd/system/weft-agent.service").exists()
    assert (tree / "var/lib/weft").stat().st_mode & 0o777 == 0o700
    (tree / "net.yaml").write_text(FILE)
    run(tree, "weft", "apply", "-f", "/net.yaml")
    subprocess.run(["ip", "-n", underlay.hosts[0], "link", "set", "lo", "up"], check=True)
    agent = started(tree, underlay.hosts[0])
    assert forwards(underlay)
    with namespace.entered(underlay.hosts[0]):
        page = socket.create_connection(("127.0.0.1", 9473), PATIENCE)
    page.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert page.recv(4096).startswith(b"HTTP/1.1 200 OK")
    page.close()
    flannel(tree, underlay.hosts[0])
    run(tree, "dpkg", "--install", "/weft.deb")
    assert agent.poll() is None, "without systemd an upgrade leaves the running agent alone"
    ended(agent, signal.SIGTERM)
    agent = started(tree, underlay.hosts[0])
    ended(agent, signal.SIGKILL)
    run(tree, "dpkg", "--remove", "weft")
    assert forwards(underlay)
    assert (tree / "var/lib/weft/weft.db").exists()
    assert not (tree / "usr/lib/weft").exists(), "nothing is left behind"
    run(tree, "dpkg", "--purge", "weft")
    assert not (tree / "var/lib/weft").exists()
    assert not (tree / "etc/default/weft").exists()
    assert forwards(underlay), "even then"


def test_the_units_keep_the_datapath() -> None:
    """What the promise rests on, should somebody edit a unit."""
    common = {"Type=notify", "KillMode=process", "Restart=always", "TimeoutStartSec=infinity"}
    assert common | {"WatchdogSec=60"} <= set(unit("weft-agent"))
    assert common | {"Environment=FLANNELD_KEEP_LEASE=true", "RuntimeDirectory=flannel"} <= set(unit("weft-flannel"))
    for script in ("prerm", "postrm", "postinst"):
        assert "cleanup`" in (REPOSITORY / "packaging/debian/prerm").read_text()
        assert os.access(REPOSITORY / "packaging/debian" / script, os.X_OK)
