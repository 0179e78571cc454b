"""A flannel network in a lab: an etcd, and on each of its hosts a bridge for containers and `weft flannel`.

    etcd      on the first host of the network, at its underlay address
    docker0   a bridge with the first address of the host's subnet; the lab's external hosts of that node stand in it

<labs>/<name>/etcd.pid, etcd.log, etcd/          flannel-<host>.pid, flannel-<host>.log, flannel-<host>/subnet.env
"""

from __future__ import annotations

import http.client
import ipaddress
import itertools
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
from weft.lab.ping import ping
from weft.lab.state import LabState, environment
from weft.lab.topology import Topology
from weft.model.errors import Kind, WeftError
from weft.model.lab import FlannelNetwork
from weft.netlink import namespace, sysctl
from weft.netlink.addresses import Addresses
from weft.netlink.channel import Channel
from weft.netlink.links import Change, Links
from weft.peering.flannel.config import parse

BRIDGE = "docker0"
_READY = "Running backend"
_PORT = 2379


def check(network: FlannelNetwork | None) -> None:
    """Before anything is built. Raises INVALID for what no daemon would start with, UNSUPPORTED without etcd."""
    if network is None:
        return
    try:
        config = parse(json.dumps(network.config).encode())
    except WeftError as error:
        raise WeftError(error.kind, error.what, where="lab.flannel.config", remedy=error.remedy) from None
    for node, subnet in network.subnets.items():
        if config.four is None or not config.four.fits(ipaddress.IPv4Network(subnet)):
            what = f"{subnet} of node '{node}' is no subnet that the configuration gives"
            remedy = "set EnableIPv4 to true"
            if config.four is not None:
                first, last, length = config.four.first, config.four.last, config.four.length
                remedy = f"use one of length {length} from {first} to {last}"
            raise WeftError(Kind.INVALID, what, where="lab.flannel.subnets", remedy=remedy)
    if shutil.which("etcd") is None:
        raise WeftError(
            Kind.UNSUPPORTED, "etcd is not installed", where="lab.flannel", remedy="apt-get install etcd-server"
        )


def start(
    state: LabState,
    topology: Topology,
    network: FlannelNetwork | None,
    until: float,
    progress: Callable[[str, int, int], None],
) -> None:
    """Returns once every host's daemon is ready and knows of all others. Raises FAILED with a daemon's last line;
    `until`: when at the latest, by the monotonic clock."""
    if network is None:
        return
    endpoint = _etcd(state, topology, network, until)
    for host, subnet in network.subnets.items():
        _bridge(topology, host, subnet)
        _daemon(state, topology.machine(host).netns, host, subnet, endpoint)
    for ready, host in enumerate(network.subnets):
        progress("flannel nodes ready", ready, len(network.subnets))
        log = state.directory / f"flannel-{host}.log"
        _await(lambda log=log: _READY in log.read_text(), state, f"flannel-{host}", until)  # type: ignore[misc]
    for host, other in itertools.permutations(network.subnets, 2):
        netns, ends = topology.machine(host).netns, (network.subnets[host], network.subnets[other])
        _await(lambda netns=netns, ends=ends: _reaches(netns, *ends), state, f"flannel-{host}", until)  # type: ignore[misc]


def _reaches(netns: str, own: str, other: str) -> bool:
    """Whether a packet from one bridge to the other is answered: both daemons have learned of both leases."""
    source, target = (str(ipaddress.ip_network(subnet).network_address + 1) for subnet in (own, other))
    return ping(netns, source, target, timeout=0.2).received == 1


def stop(state: LabState) -> None:
    """Kills the daemons by pid: their leases and what they built stay."""
    files = sorted(state.directory.glob("flannel-*.pid"))
    for path in files:
        found = process.read(path)
        if found is not None and process.alive(found):
            os.kill(found.pid, 9)
        path.unlink()


def _etcd(state: LabState, topology: Topology, network: FlannelNetwork, until: float) -> str:
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

    _await(healthy, state, "etcd", until)
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


def _await(holds: Callable[[], bool], state: LabState, name: str, until: float) -> None:
    while not holds():
        found = process.read(state.directory / f"{name}.pid")
        if found is None or not process.alive(found) or time.monotonic() > until:
            raise WeftError(Kind.FAILED, f"{name} did not get ready: {_last(state.directory / f'{name}.log')}")
        time.sleep(0.05)


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
