"""A host that nobody declared moves between two nodes while it is pinged: no table keeps the old place."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable

import pytest

from weft.lab import fleet, lab, state
from weft.model.file import parse
from weft.netlink.namespace import socket_in
from weft.wire import arp
from weft.wire.ethernet import ARP, Ethernet

pytestmark = pytest.mark.system
MAC, IP = "02:aa:00:00:00:51", "10.1.1.51"
LAB = """
nodes: {h1: {vtep: 192.168.33.1}, h2: {vtep: 192.168.33.2}, h3: {vtep: 192.168.33.3}}
networks: {blue: {vni: 5000, subnet: 10.1.1.0/24}}
ports:
  lan1: {network: blue, node: h1, attach: {interface: eth5}, hosts: learned}
  lan2: {network: blue, node: h2, attach: {interface: eth5}, hosts: learned}
  c: {network: blue, node: h3, ips: [10.1.1.3]}
"""


def command(netns: str, *words: str) -> None:
    subprocess.run(["ip", "netns", "exec", netns, *words], check=True, capture_output=True)


def appear(netns: str) -> None:
    """The host is here now, and says so once."""
    command(netns, "ip", "address", "add", f"{IP}/24", "dev", "eth0")
    with socket_in(netns, socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("eth0", 0))
        out.send(Ethernet("ff:ff:ff:ff:ff:ff", MAC, ARP).encode(arp.request(MAC, IP, IP).encode()))


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_move_under_ping_leaves_no_stale_entry(name: str) -> None:
    place = lab.up(parse({"f": LAB}), name)
    names = lab.names_of(name)
    behind = {"h1": names.netns("lan1"), "h2": names.netns("lan2")}

    def where(node: str) -> list[str]:
        return [row["vtep"] for row in fleet.rows(place, node, "fdb") if row["mac"] == MAC]

    def settled(at: str) -> bool:
        vtep = names.intent.nodes[at].vtep
        return all(where(node) == ([] if node == at else [vtep]) for node in names.intent.nodes)

    for netns in behind.values():
        command(netns, "ip", "link", "set", "eth0", "address", MAC)
    until(lambda: _forwards(behind["h1"]), "the port does not forward")
    appear(behind["h1"])
    until(lambda: settled("h1"), "it is not learned")
    pinging = subprocess.Popen(
        ["ip", "netns", "exec", names.netns("c"), "ping", "-i", "0.01", "-c", "400", "-W", "1", IP],
        stdout=subprocess.PIPE,
        text=True,
    )
    for here, there in (("h1", "h2"), ("h2", "h1"), ("h1", "h2")):
        time.sleep(1)
        command(behind[here], "ip", "address", "del", f"{IP}/24", "dev", "eth0")
        appear(behind[there])
        until(lambda at=there: settled(at), f"{there} is not where it is everywhere")  # type: ignore[misc]
    said, _ = pinging.communicate()
    received = int(said.split(" received")[0].split()[-1])
    assert received >= 300, said
    assert state.find(name).agents_alive()


def _forwards(netns: str) -> bool:
    """A port passes frames only some time after it got its carrier: an answered ARP shows that it does."""
    command(netns, "ip", "address", "add", "10.1.1.60/24", "dev", "eth0")
    done = subprocess.run(
        ["ip", "netns", "exec", netns, "ping", "-c", "1", "-W", "1", "10.1.1.3"], check=False, capture_output=True
    )
    command(netns, "ip", "address", "del", "10.1.1.60/24", "dev", "eth0")
    return done.returncode == 0
