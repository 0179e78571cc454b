"""The forwarder: the process that forwards, `python -m weft.l2.user.forwarder`. The datapath starts it, not people.

It lives in its host's namespace, keeps a pid file (locked while it lives) and a control socket in its run directory,
and goes on whatever happens to the agent. With several workers it is the front of as many processes. Nothing is kept on
disk: an agent that finds no forwarder starts one and applies its plan, which makes everything again.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import sys
from pathlib import Path

from weft.l2.user.process import TAKEN, forget, workers

_PRIORITY = -10


def main() -> int:
    """Runs a forwarder until it ends."""
    parser = argparse.ArgumentParser(prog="weft-forwarder", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path, help="run directory: pid file and control socket")
    parser.add_argument("--cluster", default="default")
    parser.add_argument("--namespace", help="the named network namespace that the host lives in; default: this one")
    parser.add_argument("--workers", type=int, default=1, help="processes that forward, each its share of the networks")
    options = parser.parse_args()

    options.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pid = os.open(options.directory / "pid", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(pid, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(pid).st_ino != (options.directory / "pid").stat().st_ino:
            return TAKEN  # its holder has ended just now and taken the file with it
    except (BlockingIOError, FileNotFoundError):
        return TAKEN
    with contextlib.suppress(OSError):  # there is no room: the lock says it all
        os.ftruncate(pid, 0)
        os.write(pid, f"{os.getpid()}\n".encode())

    socket_path = options.directory / "control.sock"
    socket_path.unlink(missing_ok=True)  # one that was killed listens until its devices are removed
    inherited = workers(options.directory)
    from weft.l2.user import saying
    from weft.l2.user.forwarding import Forwarding
    from weft.l2.user.front.front import Front
    from weft.l2.user.receiver import Own
    from weft.l2.user.server import Server, listen
    from weft.l2.user.worker import Worker
    from weft.netlink import outside
    from weft.netlink.namespace import entered, path

    saying.begin()
    where = path(options.namespace) if options.namespace else None
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's ^C is for the agent
    with contextlib.suppress(OSError):  # what carries everybody's packets goes first, as the kernel's own would
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    sys.setswitchinterval(0.0005)  # seconds: a thread that computes lets the others have their turn sooner
    cluster = options.cluster
    with entered(options.namespace):  # every thread that is started in here lives there too
        forwarding: Forwarding
        if options.workers > 1:
            forwarding = Front(cluster, options.workers, inherited)
        else:
            forwarding = Worker(cluster, Own(outside.lender()))
        server = Server(forwarding, listen(socket_path))
        try:
            server.run(where)
        finally:
            socket_path.unlink(missing_ok=True)
    forget(options.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
