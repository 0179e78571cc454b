"""Two ordinary users on two machines share a network: only their UDP sockets are outside of their namespaces."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.l2.l2_world import IPS, Underlay
from tests.l2.user.stage import eventually
from weft.model.errors import Kind, WeftError
from weft.netlink import outside

REPOSITORY = Path(__file__).resolve().parents[3]
NOBODY = 65534
_INSIDE = "mount -t tmpfs none /run && mkdir -p /run/netns && exec {python} -m tests.l2.user.rootless_host {number}"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of nobody's; paths of unix sockets are short."""
    with tempfile.TemporaryDirectory(prefix="weft-", dir="/tmp") as made:
        if os.geteuid() == 0:
            os.chown(made, NOBODY, NOBODY)
        yield Path(made)


@contextmanager
def lending(path: Path) -> Iterator[str]:
    server = threading.Thread(target=outside.serve, args=(path,), daemon=True)
    server.start()
    assert eventually(path.exists)
    yield str(path)


def test_udp_is_lent_and_nothing_else(place: Path) -> None:
    with lending(place / "s") as where:
        with outside.make(where, socket.AF_INET, socket.SOCK_DGRAM) as lent:
            lent.bind(("127.0.0.1", 0))
            assert not lent.get_inheritable()
        for kind in (socket.SOCK_STREAM, socket.SOCK_RAW):
            with pytest.raises(WeftError) as refused:
                outside.make(where, socket.AF_INET, kind)
            assert refused.value.kind is Kind.FAILED
        assert (place / "s").stat().st_mode & 0o777 == 0o600


def test_nobody_there_is_one_clear_error(place: Path) -> None:
    with pytest.raises(WeftError) as missing:
        outside.make(str(place / "s"), socket.AF_INET, socket.SOCK_DGRAM)
    assert missing.value.kind is Kind.UNREACHABLE
    assert f"weft outside {place}/s" in missing.value.remedy


def test_a_path_that_is_taken_is_left_alone(place: Path) -> None:
    with lending(place / "s") as where:
        with pytest.raises(WeftError, match="another process listens here"):
            outside.serve(Path(where))
        outside.make(where, socket.AF_INET, socket.SOCK_DGRAM).close()
    (place / "notes").write_text("mine")
    with pytest.raises(WeftError, match="notes: is there, and no socket"):
        outside.serve(place / "notes")
    assert (place / "notes").read_text() == "mine"
    with pytest.raises(WeftError, match="none/s: cannot listen there: no such file or directory"):
        outside.serve(place / "none/s")


def test_what_a_killed_lender_left_is_taken_over(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as killed:
        killed.bind(str(place / "s"))
    inode = (place / "s").stat().st_ino
    with lending(place / "s") as where:
        assert eventually(lambda: (place / "s").stat().st_ino != inode)
        outside.make(where, socket.AF_INET, socket.SOCK_DGRAM).close()


def _as_nobody(host: str, place: Path, *command: str, **more: object) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    told = {
        "PYTHONPATH": paths,
        "HOME": str(place),
        "WEFT_OUTSIDE": os.path.relpath(place / f"{host}.sock", REPOSITORY),
    }
    words = ["ip", "netns", "exec", host, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    words += ["env", *(f"{name}={value}" for name, value in told.items()), *command]
    return subprocess.Popen(words, text=True, cwd=REPOSITORY, **more)  # type: ignore[call-overload, no-any-return]


@pytest.mark.system
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ordinary_users_of_two_machines_share_a_network(
    underlay: Underlay, place: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("WEFT_WORKERS", workers)
    python, pipe = sys.executable, subprocess.PIPE
    with ExitStack() as stack:
        machines = []
        for number, host in enumerate(underlay.hosts):
            lender = _as_nobody(host, place, python, "-m", "weft", "outside", str(place / f"{host}.sock"))
            stack.callback(lender.wait)
            stack.callback(lender.terminate)
            assert eventually((place / f"{host}.sock").exists)
            script = _INSIDE.format(python=python, number=number)
            machine = _as_nobody(host, place, "unshare", "-Urnm", "sh", "-c", script, stdin=pipe, stdout=pipe)
            stack.callback(machine.wait)
            stack.callback(machine.stdin.close)  # type: ignore[union-attr]
            machines.append(machine)
        for machine in machines:
            assert machine.stdout
            assert machine.stdout.readline() == "ready on eth1, MTU 1500\n"
        for machine, there in zip(machines, reversed(IPS), strict=True):
            assert machine.stdin
            assert machine.stdout
            for address in there:
                machine.stdin.write(f"ping {address.split('/')[0]}\n")
                machine.stdin.flush()
                assert machine.stdout.readline() == "reached\n"
