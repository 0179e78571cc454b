"""A flannel network in a lab: an etcd, and on each of its hosts a bridge for containers and `weft flannel`.

    etcd      on the first host of the network, at its underlay address
    docker0   a bridge with the first address of the host's subnet; the lab's external hosts of that node stand in it

<labs>/<name>/etcd.pid, etcd.log, etcd/          flannel-<host>.pid, flannel-<host>.log, flannel-<host>/subnet.env
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from weft.lab import process
from weft.lab.state import LabState, environment
from weft.lab.topology import Topology
from weft.model.errors import Kind, WeftError
from weft.model.lab import FlannelNetwork
from weft.netlink import namespace, sysctl
from weft.netlink.addresses import Addresses
from weft.netlink.channel import Channel
from weft.netlink.links import Change, Links

BRIDGE = "docker0"
_READY = "Running backend"
_PORT = 2379
_PATIENCE = 60.0


def start(state: LabState, topology: Topology, network: FlannelNetwork | None) -> None:
    """Returns once every host's daemon is ready. Raises UNSUPPORTED without etcd, FAILED with a daemon's last line."""
    if network is None:
        return
    if shutil.which("etcd") is None:
        raise WeftError(
            Kind.UNSUPPORTED, "etcd is not installed", where="lab.flannel", remedy="apt-get install etcd-server"
        )
    endpoint = _etcd(state, topology, network)
    for host, subnet in network.subnets.items():
        _bridge(topology, host, subnet)
        _daemon(state, topology.machine(host).netns, host, subnet, endpoint)
    for host in network.subnets:
        log = state.directory / f"flannel-{host}.log"
        _await(lambda log=log: _READY in log.read_text(), state, f"flannel-{host}")  # type: ignore[misc]


def stop(state: LabState) -> None:
    """Kills the daemons by pid: their leases and what they built stay."""
    files = sorted(state.directory.glob("flannel-*.pid"))
    for path in files:
        found = process.read(path)
        if found is not None and process.alive(found):
            os.kill(found.pid, 9)
        path.unlink()


def _etcd(state: LabState, topology: Topology, network: FlannelNetwork) -> str:
    """Its address and port; the network's configuration is in it."""
    machine = topology.machine(next(iter(network.subnets)))
    address = machine.links[0].address.partition("/")[0]
    url = f"http://{address}:{_PORT}"
    words = ["etcd", "--data-dir", str(state.directory / "etcd"), "--listen-client-urls", url]
    words += ["--advertise-client-urls", url, "--listen-peer-urls", "http://127.0.0.1:2380"]
    words += ["--log-outputs", "stderr", "--unsafe-no-fsync"]
    _spawn(state, machine.netns, "etcd", words)

    def healthy() -> bool:
        try:
            return b"true" in _ask(machine.netns, address, "GET", "/health", "")
        except (OSError, http.client.HTTPException):
            return False

    _await(healthy, state, "etcd")
    pair = {"key": "/coreos.com/network/config", "value": json.dumps(network.config)}
    body = json.dumps({name: b64encode(text.encode()).decode() for name, text in pair.items()})
    _ask(machine.netns, address, "POST", "/v3/kv/put", body)
    return url


def _ask(netns: str, address: str, method: str, path: str, body: str) -> bytes:
    connection = http.client.HTTPConnection(address, _PORT, timeout=5)
    with namespace.entered(netns):
        connection.connect()
    try:
        connection.request(method, path, body)
        return connection.getresponse().read()
    finally:
        connection.close()


def _bridge(topology: Topology, host: str, subnet: str) -> None:
    netns = topology.machine(host).netns
    network = ipaddress.ip_network(subnet)
    channel = Channel(namespace=netns)
    try:
        links = Links(channel)
        bridge = links.create(Change(name=BRIDGE, kind="bridge", quiet=True))
        Addresses(channel).add(bridge, f"{network.network_address + 1}/{network.prefixlen}")
        links.change(bridge, Change(up=True))
        for wire in topology.wires:
            port = links.get(wire.interface) if wire.node == host else None
            if port is not None:
                links.change(port, Change(master=bridge.index, up=True))
    finally:
        channel.close()
    sysctl.write("ipv4/ip_forward", 1, netns)


def _daemon(state: LabState, netns: str, host: str, subnet: str, endpoint: str) -> None:
    network = ipaddress.ip_network(subnet)
    file = state.directory / f"flannel-{host}" / "subnet.env"
    file.parent.mkdir(mode=0o700)
    file.write_text(f"FLANNEL_SUBNET={network.network_address + 1}/{network.prefixlen}\n")
    words = [sys.executable, "-m", "weft", "flannel", "-etcd-endpoints", endpoint, "-iface", "eth1"]
    _spawn(state, netns, f"flannel-{host}", [*words, "-subnet-file", str(file)])


def _spawn(state: LabState, netns: str, name: str, words: list[str]) -> None:
    with (state.directory / f"{name}.log").open("ab") as log, namespace.entered(netns):
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=environment(), start_new_session=True
        )
    process.write(state.directory / f"{name}.pid", child.pid)
    child.returncode = 0  # it outlives us: not ours to wait for


def _await(holds: Callable[[], bool], state: LabState, name: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        found = process.read(state.directory / f"{name}.pid")
        if found is None or not process.alive(found) or time.monotonic() > deadline:
            raise WeftError(Kind.FAILED, f"{name} did not get ready: {_last(state.directory / f'{name}.log')}")
        time.sleep(0.05)


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
