"""An Open vSwitch of one's own: ovsdb-server and ovs-vswitchd with all their files in one directory, in one namespace.

What labs and tests use; a real host has the system's. Several can run on one machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from weft.l2.ovs.rpc import Rpc
from weft.model.errors import Kind, WeftError
from weft.netlink.namespace import Namespace, entered

_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_PATIENCE = 30.0  # seconds for a program to answer that was started just now
INSTALL = "apt-get install openvswitch-switch"


@dataclass(frozen=True, slots=True)
class Instance:
    """The two processes, by pid; the caller ends them, ovs-vswitchd first. Its ports in namespaces outlive nothing."""

    directory: Path
    database: int
    switch: int


def installed() -> bool:
    return _SCHEMA.exists() and shutil.which("ovs-vswitchd") is not None


def start(directory: Path, namespace: Namespace = None, *options: str) -> Instance:
    """Starts both and returns once they answer. Raises UNSUPPORTED where there is no Open vSwitch, FAILED with
    its log's last line. `options`: for ovs-vswitchd. A database that is there already is kept."""
    if not installed():
        raise WeftError(Kind.UNSUPPORTED, "Open vSwitch is not installed", remedy=INSTALL)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = start_database(directory, namespace)
    return Instance(directory, database, start_switch(directory, namespace, *options))


def start_database(directory: Path, namespace: Namespace = None) -> int:
    """ovsdb-server; its pid."""
    if not (directory / "conf.db").exists():
        subprocess.run(["ovsdb-tool", "create", str(directory / "conf.db"), str(_SCHEMA)], check=True)
    command = ["ovsdb-server", "--remote=punix:db.sock", "--unixctl=ovsdb-server.ctl", "--pidfile=ovsdb-server.pid"]
    pid = _spawn(directory, namespace, [*command, "conf.db"])
    _await(directory, "ovsdb-server", pid, directory / "db.sock")
    initial = ["ovs-vsctl", f"--db=unix:{directory / 'db.sock'}", "--no-wait", f"--timeout={_PATIENCE:.0f}", "init"]
    subprocess.run(initial, check=True, capture_output=True, env=os.environ | environment(directory))
    return pid


def start_switch(directory: Path, namespace: Namespace = None, *options: str) -> int:
    """ovs-vswitchd; its pid."""
    pid_file = directory / "ovs-vswitchd.pid"
    command = ["ovs-vswitchd", f"--pidfile={pid_file.name}", *options, "unix:db.sock"]
    pid = _spawn(directory, namespace, command)
    _await(directory, "ovs-vswitchd", pid, directory / f"ovs-vswitchd.{pid}.ctl")
    return pid


def environment(directory: Path) -> dict[str, str]:
    """With it, every program of Open vSwitch's finds this one."""
    return dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"), str(directory))


def _spawn(directory: Path, namespace: Namespace, command: list[str]) -> int:
    """The child is born inside the namespace, since the thread that forks stands there."""
    log = directory / f"{command[0]}.log"
    with log.open("ab") as output, entered(namespace):
        child = subprocess.Popen(
            [command[0], "--no-chdir", "-vconsole:warn", *command[1:]],
            cwd=directory,
            env=os.environ | environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    child.returncode = 0  # it outlives us: not ours to wait for
    return child.pid


def _await(directory: Path, program: str, pid: int, socket: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            Rpc(socket).close()
        except WeftError:
            if not Path(f"/proc/{pid}").exists():
                break
            time.sleep(0.01)
        else:
            return
    lines = (directory / f"{program}.log").read_text(errors="replace").strip().splitlines()
    what = f"{program} does not answer: {lines[-1] if lines else 'it said nothing'}"
    raise WeftError(Kind.FAILED, what, where=str(directory), remedy=f"see {directory / (program + '.log')}")
