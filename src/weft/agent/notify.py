"""What the agent tells its service manager: that it is ready, what it does, and that it is alive. sd_notify(3).

Datagrams of VARIABLE=value lines to the socket in $NOTIFY_SOCKET; nothing where there is none. Ready means in sync for
the first time: what is ordered after the agent finds its networks up. The watchdog is fed only while the agent's loop
comes to rest, so an agent that hangs is started again; its datapath forwards meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping

from weft.agent.status import Status


class Notifier:
    """`environment`: where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID stand."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog = int(environment.get("WATCHDOG_USEC", "0")) / 1e6 if mine and address else 0.0
        self._ready = False
        self._said = ""

    def report(self, status: Status) -> None:
        """Takes a status after each reconcile; READY with the first that is in sync."""
        said = "in sync" if status.in_sync else "; ".join(status.errors) or "starting"
        lines = [] if said == self._said else [f"STATUS={said}".replace("\n", " ")[:500]]
        if status.in_sync and not self._ready:
            self._ready = True
            lines.append("READY=1")
        self._said = said
        self._send(lines)

    def ready(self) -> None:
        """READY, for who has no status to report."""
        self._send(["READY=1"])

    def stopping(self) -> None:
        self._send(["STOPPING=1"])

    async def feed(self, progressing: Callable[[], bool]) -> None:
        """Feeds the watchdog, twice as often as it asks for, while there is progress; ends at once without one."""
        while self._watchdog:
            if progressing():
                self._send(["WATCHDOG=1"])
            await asyncio.sleep(self._watchdog / 2)

    def _send(self, lines: list[str]) -> None:
        if not self._address or not lines:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            pass  # the manager went away: nothing to be told
