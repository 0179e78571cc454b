"""Debian's etcd, run for real: members on loopback ports of their own, their data below the test's directory."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.frozen import freeze, thaw
from weft.netlink import namespace

START = 60.0
"""Seconds a member has to answer."""


_ports = itertools.cycle(range(20_000, 32_000))
_claims: list[socket.socket] = []


def free_port() -> int:
    """A TCP port below those that the kernel gives to clients, and this process's for good, whether etcd listens there
    or not: who has the UDP port of the same number has claimed it among all processes that run tests."""
    while True:
        port, claim, probe = next(_ports), socket.socket(type=socket.SOCK_DGRAM), socket.socket()
        with probe, contextlib.suppress(OSError):
            claim.bind(("127.0.0.1", port))
            probe.bind(("127.0.0.1", port))
            _claims.append(claim)
            return port
        claim.close()


@dataclass
class Member:
    """One etcd process; elections and heartbeats are quick, so that leases can be short."""

    root: Path
    name: str = "m0"
    cluster: str = ""
    options: tuple[str, ...] = ()
    client_scheme: str = "http"
    port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    host: str = "127.0.0.1"
    namespace: str | None = None  # where it runs; None: here

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def where(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace] if self.namespace else []

    @property
    def url(self) -> str:
        return f"etcd://{self.endpoint}"

    @property
    def peer(self) -> str:
        return f"{self.name}=http://127.0.0.1:{self.peer_port}"

    @property
    def data(self) -> Path:
        return self.root / f"{self.name}.etcd"

    def start(self) -> None:
        client = f"{self.client_scheme}://{self.endpoint}"
        peer = f"http://127.0.0.1:{self.peer_port}"
        with (self.root / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.where, "etcd", "--name", self.name, "--data-dir", str(self.data), "--listen-client-urls", client,
                 "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", self.cluster or self.peer, "--heartbeat-interval", "50",
                 "--election-timeout", "500", "--log-outputs", "stderr", "--unsafe-no-fsync", *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root,
            )  # fmt: skip

    def wait_ready(self) -> None:
        """Until it says that it serves clients."""
        deadline = time.monotonic() + START
        log = self.root / f"{self.name}.log"
        while not self._serves():
            assert self.process is not None
            assert self.process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.02)

    def freeze(self) -> None:
        assert self.process is not None
        freeze(self.process.pid)

    def thaw(self) -> None:
        assert self.process is not None
        thaw(self.process.pid)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    def stop(self) -> None:
        if self.process is not None:
            self.thaw()
            self.process.kill()
            self.process.wait(START)
            self.process = None

    def etcdctl(self, *arguments: str) -> str:
        run = subprocess.run(
            [*self.where, "etcdctl", "--endpoints", f"{self.client_scheme}://{self.endpoint}", *arguments],
            env={"PATH": os.environ["PATH"], "ETCDCTL_API": "3"}, capture_output=True, text=True, timeout=START,
            cwd=self.root, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        return run.stdout

    def due(self) -> bool:
        """Whether there are leases that end within a second, or are over and still there."""
        ids = [each["ID"] for each in self._ask("lease/leases").get("leases", ())]
        return any(0 <= int(self._ask("lease/timetolive", ID=each).get("TTL", 0)) < 1 for each in ids)

    def _ask(self, path: str, **fields: str) -> Any:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=START)
        try:
            connection.request("POST", f"/v3/{path}", json.dumps(fields))
            return json.load(connection.getresponse())
        finally:
            connection.close()

    def _serves(self) -> bool:
        """Whether its health page says that it has a leader. A TLS port answers plain text with an error: as good."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=1)
        try:
            with namespace.entered(self.namespace):
                connection.connect()
            connection.request("GET", "/health")
            answer = connection.getresponse()
            return answer.status == 400 or b"true" in answer.read()
        except (OSError, http.client.HTTPException) as error:
            return isinstance(error, http.client.BadStatusLine)
        finally:
            connection.close()


def started(root: Path, *options: str, name: str = "m0") -> Member:
    """A cluster of one."""
    member = Member(root, name, options=options)
    member.start()
    member.wait_ready()
    return member
