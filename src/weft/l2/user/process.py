"""Finding, starting and stopping the forwarder of a host.

Its run directory is named by the cluster and by the inode of the host's network namespace, so that every process finds
it whatever the namespace is called there, and hosts of a lab do not meet.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import weft
from weft.l2.user import control
from weft.model.errors import Kind, WeftError
from weft.netlink import outside
from weft.netlink.namespace import Namespace, entered

TAKEN = 3  # exit code of a forwarder that finds another one serving its host
_PATIENCE = 20.0  # seconds for a forwarder to end
_STARTING = 50.0  # seconds for one to answer
_REMOVAL = 45.0  # of them, for the kernel to remove the devices of one that was killed: tens of milliseconds each
_WORKER = b"weft.l2.user.front.process"  # in its command
_FULL, _READ_ONLY = "make room there, see: df -h {0}; df -i {0}", "mount it writable, see: findmnt -T {0}"
_REMEDIES = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EROFS: _READ_ONLY}
_FLOCK = struct.Struct("hhqqi0q")  # struct flock of 64-bit Linux


def run_directory(cluster: str, namespace: Namespace) -> Path:
    """Where the forwarder of this host has its pid file and control socket."""
    with entered(namespace):
        inode = os.stat("/proc/thread-self/ns/net").st_ino
    return _base() / f"{quote(cluster, safe='')}-{inode}"


def run_directories(namespace: Path) -> list[Path]:
    """Those of all clusters' forwarders in this namespace, and of forwarders that were killed."""
    return list(_base().glob(f"*-{namespace.stat().st_ino}"))


def forget(directory: Path) -> None:
    """Removes what a forwarder keeps there, the lock last; the directory too, unless somebody starts the next one."""
    for name in ("control.sock", "log", "log.before", "workers", "pid"):
        (directory / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def _base() -> Path:
    if os.geteuid() == 0:
        return Path("/run/weft/user")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) / "weft" if runtime else Path.home() / ".local" / "state" / "weft" / "run"
    return base / "user"


def pid(directory: Path) -> int | None:
    """The process of a running forwarder."""
    try:
        with open(directory / "pid", "rb") as file:  # what stands in it proves nothing, the lock does
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, holder = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return None
    return None if kind == fcntl.F_UNLCK else int(holder)


@contextlib.contextmanager
def outlived(running: int | None) -> Iterator[None]:
    """Waits at its end until that process is gone: its ports and devices are free then. Raises WeftError."""
    try:
        handle = os.pidfd_open(running) if running else -1
    except OSError:  # it is gone already
        handle = -1
    try:
        yield
        if handle >= 0 and not _readable(handle):
            what = f"the forwarder, process {running}, does not end"
            raise WeftError(Kind.FAILED, what, where="user datapath", remedy="end it")
    finally:
        if handle >= 0:
            os.close(handle)


def _readable(handle: int) -> bool:
    watched = select.poll()
    watched.register(handle, select.POLLIN)
    return bool(watched.poll(1000 * _PATIENCE))


def workers(directory: Path) -> int:
    """A descriptor that workers inherit, once an earlier forwarder and its workers are gone, with their devices.

    A worker that hangs does not see that its forwarder is gone, and is ended. Raises TimeoutError.
    """
    path = directory / "workers"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    begun = time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if (waited := time.monotonic() - begun) > _REMOVAL:
                raise TimeoutError(f"workers of an earlier forwarder do not end: see fuser {path}") from None
            if waited > control.PATIENCE:
                _end_workers(path)
            time.sleep(0.01 if waited < control.PATIENCE else 0.2)
        else:
            return lock


def _end_workers(lock: Path) -> None:
    """Ends those that have the file open; one that ends already has no files any more."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            opened = any(file.samefile(lock) for file in (process / "fd").iterdir())
            if opened and _WORKER in (process / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


def connect(directory: Path) -> socket.socket | None:
    """A connection to the forwarder, with a timeout; None where none runs. Raises WeftError where it hangs."""
    if pid(directory) is None:  # one that was killed takes connections until the kernel has removed its devices
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.settimeout(control.PATIENCE)
    try:
        connection.connect(str(directory / "control.sock"))
    except BlockingIOError:  # those before us were not taken in
        connection.close()
        raise hung(directory) from None
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def hung(directory: Path) -> WeftError:
    """What is to be said of a forwarder that does not answer."""
    running = pid(directory)
    remedy = f"kill -9 {running}: the agent starts another one at once" if running else ""
    return WeftError(
        Kind.UNREACHABLE, f"the forwarder, process {running}, does not answer", where="user datapath", remedy=remedy
    )


def _written(log: Path) -> BinaryIO:
    """A new log, with room for what a forwarder says when it can do nothing else. Raises WeftError."""
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > 1:
            log.replace(log.with_name("log.before"))  # it may tell why the one before ended
        output = open(log, "wb", buffering=0)  # noqa: SIM115
        try:
            output.write(b"\n")
        except OSError:
            output.close()
            raise
    except OSError as error:
        where, words = error.filename or log, (error.strerror or str(error)).lower()
        there = next(each for each in log.parents if each.exists())
        remedy = _REMEDIES.get(error.errno or 0, "let this user write there").format(there)
        what = f"the forwarder does not start: cannot write {where}: {words}"
        raise WeftError(Kind.FAILED, what, where="user datapath", remedy=remedy) from error
    return output


def last_words(directory: Path) -> str:
    """The last line that the forwarder said, such as why it ended. Raises OSError."""
    lines = (directory / "log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def start(
    directory: Path, cluster: str, namespace: str | None, workers: int
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Starts a forwarder, and connects to it or to one that was faster. Raises WeftError with what it said."""
    command = [sys.executable, "-m", "weft.l2.user.forwarder", str(directory), "--cluster", cluster]
    command += ["--namespace", namespace] if namespace else []
    command += ["--workers", str(workers)]
    found = os.pathsep.join([str(Path(weft.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    # The same weft as ours; and no pool of threads for what numpy computes here.
    environment = os.environ | {"PYTHONPATH": found, "OPENBLAS_NUM_THREADS": "1"}
    if lender := outside.lender():
        environment[outside.ENVIRONMENT] = os.path.abspath(lender)  # it works elsewhere
    said = directory / "log"
    with _written(said) as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,  # signals to the agent's group are not for it
            cwd="/",
        )
    until = time.monotonic() + _STARTING
    while time.monotonic() < until:
        if process.poll() not in (None, TAKEN):
            break
        connection = connect(directory)
        if connection is not None:
            return connection, process
        time.sleep(0.01)
    raise WeftError(
        Kind.FAILED,
        f"the forwarder does not start: {last_words(directory)}",
        where="user datapath",
        remedy=f"see {said}",
    )
