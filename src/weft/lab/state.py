"""What a lab remembers of itself: one directory a lab, from which `down`, `list` and `exec` work in any process.

    <labs>/<name>/topology.json   the lab's record: what was to be built, in which boot of the machine
                  store.db        the lab's store
                  holder.pid      rootless only: the process that keeps the lab's namespaces
                  agents-0.pid    agents, one file a process; agents-0.log beside it

<labs> is /run/weft/labs for root, $XDG_STATE_HOME/weft/labs (~/.local/state/…) for others; $WEFT_LABS overrides
both, and is how a process that entered a rootless lab, where it looks like root, still finds its place.
The record is written before anything is built, so that a killed `up` can be cleaned up by name.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weft.lab import process
from weft.lab.place import HOLDER, base
from weft.lab.topology import Topology
from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent

CLUSTER = "default"  # of the lab's own store, which holds nothing else
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_CLAIM = "claim"  # made by the one `up` that may build here
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """`boot`: the machine's boot id then; another one now means that nothing of the lab is left but this file.

    `intent`: as it was when the lab came up, all MACs and addresses assigned. `processes`: that run its agents.
    `source`: the file it came from.
    """

    topology: Topology
    boot: str
    created: float
    offloads: bool
    intent: Intent
    processes: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class LabState:
    """A lab's directory, whatever has become of the lab."""

    name: str
    directory: Path

    @property
    def store_url(self) -> str:
        return f"sqlite://{self.directory / 'store.db'}"

    @property
    def holder(self) -> Path:
        return self.directory / HOLDER

    def agent_pids(self) -> list[Path]:
        return sorted(self.directory.glob("agents-*.pid"))

    def agents_alive(self) -> int:
        """How many of the lab's agent processes run."""
        found = [process.read(path) for path in self.agent_pids()]
        return sum(one is not None and process.alive(one) for one in found)

    def record(self) -> Record:
        """Raises NOT_FOUND where the lab never came as far as writing it, FAILED where it cannot be read."""
        try:
            return msgspec.json.decode((self.directory / "topology.json").read_bytes(), type=Record)
        except FileNotFoundError:
            raise WeftError(Kind.NOT_FOUND, "has no record", where=f"lab {self.name}") from None
        except msgspec.MsgspecError as error:
            raise WeftError(
                Kind.FAILED,
                f"its record cannot be read ({error})",
                where=f"lab {self.name}",
                remedy=f"delete the namespaces weft-{self.name}-… with `ip netns`, then {self.directory}",
            ) from None

    def write(self, record: Record) -> None:
        target = self.directory / "topology.json"
        fresh = target.with_suffix(".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
        fresh.rename(target)

    def forget(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def boot_id() -> str:
    return _BOOT.read_text().strip()


def check_name(name: str) -> str:
    """The name, if a lab can have it: it becomes part of namespaces' names and of a path. Raises USAGE."""
    if not _NAME.fullmatch(name):
        raise WeftError(
            Kind.USAGE, f"'{name}' cannot name a lab", remedy="use letters, digits, '-', '_' and '.', 32 at most"
        )
    return name


def create(name: str) -> LabState:
    """A new lab's directory; raises REFUSED if a lab of this name is there."""
    directory = base() / check_name(name)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # a rootless lab's holder is there before the lab
    try:
        os.close(os.open(directory / _CLAIM, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise WeftError(
            Kind.REFUSED, f"lab {name} is up already", remedy=f"`weft lab down {name}`, or give this one --name"
        ) from None
    return LabState(name, directory)


def find(name: str) -> LabState:
    """Raises NOT_FOUND, naming the labs there are."""
    directory = base() / check_name(name)
    if not directory.is_dir():
        known = ", ".join(state.name for state in every())
        remedy = f"there are: {known}" if known else "no lab is up: weft lab up FILE"
        raise WeftError(Kind.NOT_FOUND, f"there is no lab '{name}'", remedy=remedy)
    return LabState(name, directory)


def every() -> list[LabState]:
    try:
        return [LabState(path.name, path) for path in sorted(base().iterdir()) if path.is_dir()]
    except FileNotFoundError:
        return []


def environment() -> dict[str, str]:
    """For child processes: they must find the same labs."""
    return os.environ | {"WEFT_LABS": str(base())}
