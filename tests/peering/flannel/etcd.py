"""Debian's etcd in the fabric's middle: 192.168.136.1:2379, reached by every host over the underlay."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peering.flannel.fabric import Fabric, run

ADDRESS = "192.168.136.1"
ENDPOINT = f"http://{ADDRESS}:2379"
PREFIX = "/coreos.com/network"
_PATIENCE = 60.0


@dataclass
class Etcd:
    namespace: str
    root: Path
    options: tuple[str, ...] = ()
    certificates: Path | None = None
    """Where those for TLS are (tests.store.etcd_certificates); clients must show one too."""
    login: tuple[str, ...] = ()
    """etcdctl's words for a user, once there are any."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return ENDPOINT.replace("http:", "https:") if self.certificates else ENDPOINT

    def _tls(self, who: str, *names: str) -> list[str]:
        """Options that name certificate, key and authority."""
        if not self.certificates:
            return []
        files = (f"{who}.pem", f"{who}.key", "ca.pem")
        return [word for name, file in zip(names, files, strict=True) for word in (name, f"{self.certificates}/{file}")]

    def start(self) -> None:
        words = [
            *("ip", "netns", "exec", self.namespace, "etcd", "--name", "m0", "--data-dir", str(self.root / "data")),
            *("--listen-client-urls", self.endpoint, "--advertise-client-urls", self.endpoint),
            *("--listen-peer-urls", "http://127.0.0.1:2380", "--log-outputs", "stderr", "--unsafe-no-fsync"),
            *self._tls("server", "--cert-file", "--key-file", "--trusted-ca-file"),
            *(["--client-cert-auth"] if self.certificates else []),
            *self.options,
        ]
        with (self.root / "etcd.log").open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root)
        deadline = time.monotonic() + _PATIENCE
        while self.ctl("endpoint", "health", check=False).returncode:
            assert self.process.poll() is None, (self.root / "etcd.log").read_text()[-2000:]
            assert time.monotonic() < deadline, (self.root / "etcd.log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self) -> None:
        """As a machine that loses power."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(_PATIENCE)
            self.process = None

    def ctl(self, *words: str, check: bool = True, api: str = "3") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, "etcdctl", "--endpoints", self.endpoint,
             *self._tls("client", "--cert", "--key", "--cacert"), *self.login, *words],
            env={"PATH": os.environ["PATH"], "ETCDCTL_API": api}, capture_output=True, text=True, timeout=_PATIENCE,
            check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def put(self, key: str, value: str | dict[str, Any]) -> None:
        self.ctl("put", f"{PREFIX}/{key}", value if isinstance(value, str) else json.dumps(value))

    def delete(self, key: str) -> None:
        self.ctl("del", f"{PREFIX}/{key}")

    def leases(self) -> dict[str, str]:
        """Key below the prefix → value, to the octet."""
        lines = self.ctl("get", "--prefix", f"{PREFIX}/subnets/").stdout.splitlines()
        return {key.removeprefix(f"{PREFIX}/"): value for key, value in zip(lines[::2], lines[1::2], strict=True)}

    def etcd_lease(self, key: str) -> int:
        """The id of the etcd lease that a key hangs on; 0 for none."""
        found = json.loads(self.ctl("get", f"{PREFIX}/{key}", "-w", "json").stdout)["kvs"][0]
        lease: int = found.get("lease", 0)
        return lease

    def modified(self, key: str) -> int:
        """The revision of a key's last change."""
        revision: int = json.loads(self.ctl("get", f"{PREFIX}/{key}", "-w", "json").stdout)["kvs"][0]["mod_revision"]
        return revision


@contextlib.contextmanager
def etcd(fabric: Fabric, root: Path, *options: str, certificates: Path | None = None) -> Iterator[Etcd]:
    root.mkdir(exist_ok=True)
    if f"{ADDRESS}/" not in run("ip", "-n", fabric.wire, "address"):
        run("ip", "-n", fabric.wire, "address", "add", f"{ADDRESS}/24", "dev", "hub")
    server = Etcd(fabric.wire, root, options, certificates)
    try:
        server.start()
        yield server
    finally:
        server.stop()
