"""One `weft flannel` for a network, a device and a subnet file of a host; a killed one locks nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from weft.model.errors import WeftError
from weft.peering.flannel.locks import Locks

MINE = rf"already \(pid {os.getpid()}\), with the"
KILLED = """
import os, sys
from pathlib import Path
from weft.peering.flannel.locks import Locks
locks = Locks(directory=Path(sys.argv[1]))
locks.prefix("/a/b")
locks.device("flannel.1")
os.kill(os.getpid(), 9)
"""


def test_a_second_of_one_network_or_device_is_refused(tmp_path: Path) -> None:
    with closing(Locks(directory=tmp_path)) as first, closing(Locks(directory=tmp_path)) as second:
        first.prefix("/a/b/")
        first.device("flannel.1")
        with pytest.raises(WeftError, match=rf"{MINE} etcd prefix /a/b; stop it first; the lock is {tmp_path}"):
            second.prefix("/a/b")
        second.prefix("/a")
        with pytest.raises(WeftError, match=f"{MINE} device flannel.1;"):
            second.device("flannel.1")
        second.device("flannel.2")
    assert list(tmp_path.iterdir()) == []


def test_everything_is_free_once_no_daemon_holds_any(tmp_path: Path) -> None:
    (tmp_path / "1.prefix.%2Fa.lock").touch()  # another namespace's
    with closing(Locks(directory=tmp_path)) as cleanup, closing(Locks(directory=tmp_path)) as daemon:
        daemon.prefix("/a/b")
        with pytest.raises(WeftError, match=f"{MINE} etcd prefix /a/b;"):
            cleanup.everything()
        daemon.close()
        cleanup.everything()


def test_a_killed_daemons_files_lock_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, env=environment, timeout=60)
    assert len(list(tmp_path.iterdir())) == 2
    with closing(Locks(directory=tmp_path)) as cleanup:
        cleanup.everything()
        with closing(Locks(directory=tmp_path)) as daemon, pytest.raises(WeftError, match=MINE):
            daemon.prefix("a/b")
    assert list(tmp_path.iterdir()) == []


def test_two_do_not_share_a_subnet_file(tmp_path: Path) -> None:
    with closing(Locks(directory=tmp_path)) as first, closing(Locks(directory=tmp_path)) as second:
        first.subnet_file(tmp_path / "run/subnet.env")
        with pytest.raises(WeftError, match=rf"already with this subnet file \(pid {os.getpid()}\); stop it first"):
            second.subnet_file(tmp_path / "run/subnet.env")
        with pytest.raises(WeftError, match="cannot write there: .*; give -subnet-file another"):
            second.subnet_file(Path("/proc/self/status/subnet.env"))
