"""Hosts on one underlay network as in SCENARIOS 10, each a namespace, with what a test wants to see of them."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from weft.netlink import namespace
from weft.netlink.channel import Channel
from weft.netlink.links import Links
from weft.peering.flannel.backend import External

SOURCE = Path(__file__).resolve().parents[3] / "src"


def run(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


@dataclass
class Host:
    """A namespace with 192.168.136.<number> on eth0, behind a bridge of the fabric's."""

    namespace: str
    number: int

    @property
    def address(self) -> IPv4Address:
        return IPv4Address(f"192.168.136.{self.number}")

    @property
    def address6(self) -> IPv6Address:
        return IPv6Address(f"fd00:136::{self.number:x}")

    @property
    def external(self) -> External:
        channel = Channel(namespace=self.namespace)
        link = Links(channel).get("eth0")
        channel.close()
        assert link is not None
        return External("eth0", link.index, link.mtu, self.address, self.address6, self.address, self.address6)

    def ip(self, *words: str, check: bool = True) -> str:
        return run("ip", "-n", self.namespace, *words, check=check)

    def json(self, *words: str) -> Any:
        return json.loads(self.ip("-j", "-d", *words) or "[]")

    def exec(self, *words: str, check: bool = True) -> str:
        return run("ip", "netns", "exec", self.namespace, *words, check=check)

    def do(self, command: str) -> str:
        """A command line, by words."""
        return self.exec(*command.split())

    def routes(self, device: str = "") -> set[str]:
        """`to via gateway dev device` of all routes by neighbors, or by those of one device."""
        return {
            f"{found['dst']} via {found['gateway']} dev {found['dev']}"
            for family in ("-4", "-6")
            for found in json.loads(self.ip("-j", family, "route", "show") or "[]")
            if "gateway" in found and found["dst"] != "default" and device in ("", found["dev"])
        }

    def neighbors(self, device: str) -> set[str]:
        """`ip mac` of the permanent ones."""
        found = json.loads(self.ip("-j", "neigh", "show", "dev", device, "nud", "permanent") or "[]")
        return {f"{each['dst']} {each['lladdr']}" for each in found}

    def fdb(self, device: str) -> set[str]:
        """`mac vtep` of the device's own static rows."""
        found = json.loads(run("bridge", "-n", self.namespace, "-j", "fdb", "show", "dev", device) or "[]")
        return {f"{each['mac']} {each['dst']}" for each in found if "dst" in each and "permanent" in each["state"]}

    def mac(self, device: str) -> str:
        found: str = self.json("link", "show", device)[0]["address"]
        return found


@dataclass
class Fabric:
    prefix: str = field(default_factory=lambda: f"wfl{secrets.token_hex(2)}-")
    made: list[str] = field(default_factory=list)

    def namespace(self, name: str) -> str:
        full = f"{self.prefix}{name}"
        namespace.create(full)
        self.made.append(full)
        run("ip", "-n", full, "link", "set", "lo", "up")
        return full

    def host(self, number: int) -> Host:
        host = Host(self.namespace(f"h{number}"), number)
        run("ip", "-n", host.namespace, "link", "add", "eth0", "type", "veth", "peer", f"p{number}", "netns", self.wire)
        run("ip", "-n", self.wire, "link", "set", f"p{number}", "master", "hub", "up")
        host.ip("link", "set", "eth0", "up")
        host.ip("address", "add", f"{host.address}/24", "dev", "eth0")
        host.ip("address", "add", f"{host.address6}/64", "dev", "eth0", "nodad")
        return host

    @property
    def wire(self) -> str:
        return f"{self.prefix}wire"

    def containers(self, host: Host, subnet: str) -> str:
        """A bridge that takes the first address of a /24, and a namespace with the second; its name."""
        base = subnet.rpartition(".")[0]
        inside = self.namespace(f"c{host.number}")
        host.ip("link", "add", "name", "docker0", "type", "bridge")
        host.ip("address", "add", f"{base}.1/24", "dev", "docker0")
        host.ip("link", "set", "docker0", "up")
        host.ip("link", "add", "veth0", "type", "veth", "peer", "eth0", "netns", inside)
        host.ip("link", "set", "veth0", "master", "docker0", "up")
        run("ip", "-n", inside, "link", "set", "eth0", "mtu", "1400", "up")
        run("ip", "-n", inside, "address", "add", f"{base}.2/24", "dev", "eth0")
        run("ip", "-n", inside, "route", "add", "default", "via", f"{base}.1")
        host.exec("sysctl", "-qw", "net.ipv4.ip_forward=1")
        return inside


@contextlib.contextmanager
def fabric() -> Iterator[Fabric]:
    made = Fabric()
    try:
        made.namespace("wire")
        run("ip", "-n", made.wire, "link", "add", "name", "hub", "type", "bridge")
        run("ip", "-n", made.wire, "link", "set", "hub", "up")
        yield made
    finally:
        for name in reversed(made.made):
            namespace.delete(name)


PYTHON = sys.executable
