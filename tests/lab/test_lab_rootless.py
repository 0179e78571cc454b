"""Labs of an ordinary user: the same calls, in namespaces that a holder process keeps."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import weft
from tests.conftest import REPOSITORY
from weft.lab import process

pytestmark = pytest.mark.system
NOBODY = "65534"
SCRIPT = """
import sys
from weft.lab import rootless
command, name = sys.argv[1], sys.argv[2]
if command == "up":
    rootless.hold(name)
if len(sys.argv) > 3:
    import numpy  # has threads: `enter` must execute the command line anew
if command != "leave":
    rootless.enter(name, dead=command == "down")
from weft.lab import lab
from weft.model.file import parse
from pathlib import Path
if command == "up":
    lab.up(parse({"t.yaml": Path(sys.argv[0]).with_name("t.yaml").read_text()}), name)
elif command == "test":
    runner = lab.runner_of(lab.state.find(name))
    verdicts = runner.run(parse({"t.yaml": Path(sys.argv[0]).with_name("t.yaml").read_text()}).lab.expect)
    for verdict in verdicts:
        print(verdict)
    sys.exit(not all(verdict.ok for verdict in verdicts))
elif command == "exec":
    sys.exit(lab.exec_(name, "a", ["ip", "-br", "addr", "show", "dev", "eth0"]))
elif command == "list":
    print([(each.name, each.status) for each in lab.listing()])
else:
    lab.down(name)
"""


class Ordinary:
    """Runs the script above as a user without rights; the code is bound to a place that this user can read."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.chmod(0o777)
        (home / "lab.py").write_text(SCRIPT)
        self.code, self.environment = home / "code", home / "python"
        self.code.mkdir()
        self.environment.mkdir()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        source = Path(weft.__file__).parent.parent
        words = f'mount --bind "{source}" "{self.code}" && mount --bind "{sys.prefix}" "{self.environment}" && '
        words += f"exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "
        words += f'"{self.environment}/bin/python" "{self.home}/lab.py" "$@"'
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", words, "sh", *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "XDG_STATE_HOME": str(self.home / "state"),
                "PYTHONPATH": str(self.code),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            timeout=550,
            check=False,
        )


@pytest.fixture
def user() -> Iterator[Ordinary]:
    # not below pytest's own directory, which only its owner may pass
    with tempfile.TemporaryDirectory(prefix="weft-rootless-") as home:
        yield Ordinary(Path(home))


def test_a_lab_without_root(user: Ordinary) -> None:
    from tests.lab.test_lab_fleet import TEXT

    (user.home / "t.yaml").write_text(TEXT)
    try:
        done = user.run("up", "mine")
        assert done.returncode == 0, done.stderr
        holder = process.read(user.home / "state/weft/labs/mine/holder.pid")
        assert holder
        assert process.alive(holder)
        assert user.run("list", "mine").stdout == "[('mine', 'up')]\n"
        done = user.run("exec", "mine", "with threads")
        assert done.returncode == 0, done.stderr
        assert "10.1.1.11/24" in done.stdout
        done = user.run("test", "mine")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        done = user.run("down", "mine")
    assert done.returncode == 0, done.stderr
    assert not process.alive(holder)
    assert list((user.home / "state/weft/labs").iterdir()) == []


@pytest.mark.parametrize("file", ["05b-nat"])
def test_routers_without_root(user: Ordinary, file: str) -> None:
    (user.home / "t.yaml").write_text((REPOSITORY / "labs" / f"{file}.yaml").read_text())
    try:
        done = user.run("up", "mine")
        assert done.returncode == 0, done.stderr
        done = user.run("test", "mine")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        done = user.run("down", "mine")
    assert done.returncode == 0, done.stderr


def test_down_ends_forwarders_too_without_entering(user: Ordinary) -> None:
    """As `weft lab down` does it, which may have several labs to end."""
    from tests.lab.conftest import ROUTED

    (user.home / "t.yaml").write_text(ROUTED.replace("}\n", ", datapath: user}\n", 1))
    assert user.run("up", "mine").returncode == 0
    holder = process.read(user.home / "state/weft/labs/mine/holder.pid")
    assert holder
    there = process.inside([Path(f"/proc/{holder.pid}/ns/user")], "user")
    assert any("weft.l2.user.forwarder" in Path(f"/proc/{each.pid}/cmdline").read_text() for each in there)
    done = user.run("leave", "mine")
    assert done.returncode == 0, done.stderr
    assert not [each for each in (holder, *there) if process.alive(each)]


def test_a_lab_whose_holder_was_killed_is_stale_and_can_be_cleared(user: Ordinary) -> None:
    from tests.lab.conftest import ROUTED

    (user.home / "t.yaml").write_text(ROUTED)
    assert user.run("up", "mine").returncode == 0
    holder = process.read(user.home / "state/weft/labs/mine/holder.pid")
    assert holder
    process.stop([holder])
    done = user.run("exec", "mine")
    assert "the process that held its namespaces is gone" in done.stderr
    done = user.run("down", "mine")
    assert done.returncode == 0, done.stderr
    assert list((user.home / "state/weft/labs").iterdir()) == []
