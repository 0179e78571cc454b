"""Flows of one bridge, read and changed by the `ovs-ofctl` program.

A bundle is all or nothing and loses no packet (ONF OpenFlow 1.4, section 6.9); flows that are not named in it, learned
ones and other people's, stay. Measured: 10,000 flows in 0.2 s, most of it ovs-ofctl's own reading.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from weft.l2.ovs.flows import Flow
from weft.model.errors import Kind, WeftError

_TIMEOUT = 30.0
_STATED = ("cookie=", "table=", "duration=", "n_packets=", "n_bytes=", "idle_age=", "hard_age=")
_COUNTED = re.compile(r"duration=(\d+).*n_packets=(\d+), n_bytes=(\d+)")


class Ofctl:
    """`bridge`: the path of its management socket, `<rundir>/<bridge>.mgmt`. Errors are WeftErrors that name it."""

    def __init__(self, bridge: Path) -> None:
        self._target = f"unix:{bridge}"
        self._name = bridge.stem

    def dump(self) -> list[Flow]:
        """Every flow, anybody's, as ovs-ofctl prints it."""
        return list(parse(self._run("--no-stats", "--no-names", "dump-flows", self._target)))

    def counted(self) -> list[tuple[Flow, int, int, int]]:
        """(flow, packets, octets, seconds it stands) of every flow."""
        found = []
        for line in self._run("--no-names", "dump-flows", self._target).splitlines():
            if (counts := _COUNTED.search(line)) and (flow := _flow(line)):
                found.append((flow, int(counts[2]), int(counts[3]), int(counts[1])))
        return found

    def change(self, drop: Iterable[Flow], put: Iterable[Flow], more: Sequence[str] = ()) -> None:
        """Flows dropped and put in one bundle; `more`: other lines of a bundle file, done first."""
        lines = [*more, *(f"delete_strict {flow.key}" for flow in drop), *(f"add {flow}" for flow in put)]
        if lines:
            self._run("--bundle", "add-flows", self._target, "-", text="\n".join(lines) + "\n")

    def _run(self, *arguments: str, text: str = "") -> str:
        command = ["ovs-ofctl", f"--timeout={_TIMEOUT:.0f}", *arguments]
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            remedy = "install openvswitch-switch"
            raise WeftError(Kind.UNSUPPORTED, "there is no `ovs-ofctl` here", where=self._name, remedy=remedy) from None
        if done.returncode:
            last = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            words = last[-1].removeprefix("ovs-ofctl: ").replace(self._target, self._name)
            raise WeftError(Kind.FAILED, f"ovs-ofctl {arguments[1]}: {words}", where=self._name)
        return done.stdout


def parse(text: str) -> Iterator[Flow]:
    """Flows out of what `dump-flows --no-stats` prints."""
    for line in text.splitlines():
        if (flow := _flow(line)) is not None:
            yield flow


def _flow(line: str) -> Flow | None:
    """cookie=0x1, table=20, hard_timeout=300, priority=1,dl_vlan=1 actions=…: what is zero is left out."""
    head, found, actions = line.strip().partition("actions=")
    if not found:
        return None
    cookie, table, priority, match, timeouts = 0, 0, 32768, "", []
    for part in head.strip().split(", "):
        if part.startswith("cookie="):
            cookie = int(part[7:], 16)
        elif part.startswith("table="):
            table = int(part[6:])
        elif part.startswith(("idle_timeout=", "hard_timeout=")):
            timeouts.append(part)
        elif part.startswith("priority="):
            number, _, match = part[9:].partition(",")
            priority = int(number)
        elif not part.startswith(_STATED):
            match = part
    return Flow(table, priority, match, actions, cookie, ",".join(timeouts))
