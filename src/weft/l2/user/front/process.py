"""A worker process: `python -m weft.l2.user.front.process`. The front starts it, and its end is the front's."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from typing import cast

from weft.l2.user import saying
from weft.l2.user.front.feed import Fed
from weft.l2.user.front.strays import Strays
from weft.l2.user.server import Server
from weft.l2.user.worker import Worker


def main() -> int:
    """Forwards until the front says Stop, or is gone."""
    parser = argparse.ArgumentParser(prog="weft-forwarder-worker", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("feed", type=int, help="descriptor of weft.l2.user.front.feed")
    parser.add_argument("strays", type=int, help="descriptor of weft.l2.user.front.strays")
    parser.add_argument("--cluster", default="default")
    options = parser.parse_args()
    saying.begin()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's ^C is for the agent
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.setswitchinterval(0.0005)  # seconds
    strays = Strays(socket.socket(fileno=options.strays))
    fed = Fed(socket.socket(fileno=options.feed), strays)
    worker = Worker(options.cluster, fed)
    fed.forwarding = worker
    world, engine = worker.engine.world, worker.engine
    strays.held, strays.drops = world.segments, engine.ingress.tally.drops

    def take(now: float) -> None:
        while (taken := strays.taken()) is not None:
            if underlay := world.underlays.get((taken.stray.vtep, taken.stray.port)):
                engine.ingress.drain(underlay, cast(socket.socket, taken), now)

    engine.watch_other(strays.connection.fileno(), take)
    try:
        Server(worker, fed).run(None)
    except (EOFError, OSError):
        try:
            worker.leave()
        finally:
            os._exit(1)  # at once: no half of a VTEP stays
    return 0


if __name__ == "__main__":
    sys.exit(main())
