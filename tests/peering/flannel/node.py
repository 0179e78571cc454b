"""`weft flannel` as a process of its own on a host of the fabric, with its own subnet file and log."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.peering.flannel.etcd import ENDPOINT
from tests.peering.flannel.fabric import PYTHON, SOURCE, Host

PATIENCE = 60.0


def until(holds: Callable[[], object], what: str | Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.05)


@dataclass
class Node:
    host: Host
    root: Path
    words: tuple[str, ...] = ()
    endpoints: str = ENDPOINT
    process: subprocess.Popen[bytes] | None = None
    started: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def subnet_file(self) -> Path:
        return self.root / "subnet.env"

    def pin(self, subnet: str) -> None:
        """Names the subnet that is to be asked for."""
        self.root.mkdir(exist_ok=True)
        base, _, length = subnet.partition("/")
        self.subnet_file.write_text(f"FLANNEL_SUBNET={base.rpartition('.')[0]}.1/{length}\n")

    def start(self, *words: str) -> None:
        """Does not wait."""
        self.root.mkdir(exist_ok=True)
        command = [
            *("ip", "netns", "exec", self.host.namespace, PYTHON, "-m", "weft", "flannel"),
            *("-etcd-endpoints", self.endpoints, "-iface=eth0", "--subnet-file", str(self.subnet_file)),
            *self.words, *words,
        ]  # fmt: skip
        self.started = len(self.log())
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root,
                env=os.environ | {"PYTHONPATH": str(SOURCE)} | self.environment,
            )  # fmt: skip

    def log(self) -> str:
        """All it ever said."""
        file = self.root / "log"
        return file.read_text() if file.exists() else ""

    def said(self) -> str:
        """What it said since its last start."""
        return self.log()[self.started :]

    def wait(self, words: str = "Running backend") -> None:
        def there() -> bool:
            lives = self.process is not None and self.process.poll() is None
            assert words in self.said() or lives, self.said()
            return words in self.said()

        deadline = time.monotonic() + PATIENCE
        while not there():
            assert time.monotonic() < deadline, f"no {words!r} in {self.said()}"
            time.sleep(0.05)

    def up(self, *words: str) -> None:
        self.start(*words)
        self.wait()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self.process = None
        return code

    def exits(self) -> int:
        """Its exit code, where it ends by itself."""
        assert self.process is not None
        code = self.process.wait(PATIENCE)
        self.process = None
        return code

    def kill(self) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)
