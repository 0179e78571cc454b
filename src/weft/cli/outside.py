"""`weft outside`: what of an agent without root must be outside of its user namespace."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer


def command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The socket that it listens on, which is made.")],
) -> None:
    """Lend UDP sockets of this machine to an agent without root, until stopped.

    For datapath user in a user namespace, to your own processes only. There, WEFT_OUTSIDE=PATH is set.
    """
    import signal
    import sys

    from weft.netlink.outside import serve

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with suppress(KeyboardInterrupt):
        serve(path)
