"""The ARP relay: agents killed under traffic on each datapath, addresses that nobody has, and a scan of a /16."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable

import pytest

from tests.conftest import REPOSITORY
from tests.l2.user.stage import on_user
from weft.lab import agents, capture, fleet, inside, lab, process
from weft.lab.fleet import wait
from weft.lab.names import Names
from weft.lab.ping import ping
from weft.lab.state import LabState
from weft.lab.stream import stream
from weft.model.file import Document, parse
from weft.netlink.namespace import socket_in
from weft.wire import arp
from weft.wire.address import BROADCAST
from weft.wire.arp import Arp
from weft.wire.ethernet import ARP, Ethernet
from weft.wire.packet import Packet, dissect

pytestmark = pytest.mark.system
PATIENCE = 60.0
"""Seconds after which a test gives up; says nothing about how fast it should be."""

VM1 = "02:00:00:00:00:11"


def document(file: str, *changes: tuple[str, str], user: bool = False) -> Document:
    text = (REPOSITORY / "labs" / f"{file}.yaml").read_text()
    text = on_user(text) if user else text
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse({file: text})


def address(names: Names, name: str) -> str:
    return names.end_point(name).addresses[0]


def pinged(names: Names, source: str, target: str, count: int = 1) -> int:
    start = names.end_point(source)
    return ping(start.netns, start.addresses[0], target, count=count, timeout=2).received


def known(names: Names, source: str, target: str) -> None:
    """Both gateways have learned of both; the first packets may be lost on a busy machine."""
    deadline = time.monotonic() + PATIENCE
    while not pinged(names, source, address(names, target)):
        assert time.monotonic() < deadline


def arps(names: Names, what: Callable[[], None]) -> list[tuple[str, Arp]]:
    """(outer destination, ARP) of every frame that crosses the underlay meanwhile."""
    beside = capture.underlay(names.topology)
    beside.start()
    try:
        what()
    finally:
        captured = beside.stop()
    packets: list[Packet] = [dissect(frame.octets) for frame in captured]
    return [(packet.ip.dst, packet.inner.arp) for packet in packets if packet.ip and packet.inner and packet.inner.arp]


def kill(place: LabState) -> None:
    """Not asked to end, but gone."""
    for path in place.agent_pids():
        found = process.read(path)
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while process.alive(found):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        path.unlink()


@pytest.mark.parametrize("datapath", ["kernel", "ovs", "user"])
def test_agents_killed_and_restarted_during_relayed_traffic_lose_nothing(name: str, datapath: str) -> None:
    changes = [(f".33.{number}}}", f".33.{number}, datapath: {datapath}}}") for number in (1, 2, 3)]
    place = lab.up(document("07-distributed-data-plane", *changes), name)
    names = lab.names_of(name)
    nodes = [host.name for host in names.topology.hosts]
    known(names, "vm1", "vm5")
    far = address(names, "vm5")
    before = [row for row in fleet.rows(place, "gw1", "arp") if row["ip"] == far]

    done: list[str] = []

    def meanwhile() -> None:
        kill(place)
        code, _ = inside.run(names.netns("vm1"), ["ip", "neighbor", "flush", "dev", "eth0"])
        assert code == 0
        time.sleep(0.5)
        agents.start(place)
        wait(place, nodes, PATIENCE, lambda *_: None)
        done.append("restarted")

    start = names.end_point("vm1")
    found = stream(start.netns, start.addresses[0], far, count=400, interval=0.01, meanwhile=meanwhile)
    assert done, "agents did not come back"
    assert found.received == found.sent, str(found)
    assert before[0]["state"] == "ok"
    deadline = time.monotonic() + PATIENCE
    while [row for row in fleet.rows(place, "gw1", "arp") if row["ip"] == far] != before:  # not compiled yet
        assert time.monotonic() < deadline, fleet.rows(place, "gw1", "arp")
        time.sleep(0.1)
    log = "".join(path.read_text() for path in place.directory.glob("agents-*.log"))
    assert "drift" not in log


def test_an_address_that_nobody_has_is_asked_for_once_and_answered_by_nobody(name: str) -> None:
    lab.up(document("06-proxy-data-plane"), name)
    names = lab.names_of(name)
    known(names, "vm1", "vm4")
    gw2 = names.intent.nodes["gw2"].vtep
    seen = arps(names, lambda: pinged(names, "vm1", "10.1.1.99") and None)
    about = [(to, said) for to, said in seen if "10.1.1.99" in (said.target_ip, said.sender_ip)]
    assert [(to, said.operation, said.sender_ip) for to, said in about if to == gw2] == [
        (gw2, arp.REQUEST, address(names, "vm1"))
    ]
    assert all(said.operation == arp.REQUEST for _, said in about)


def test_a_scan_of_a_16_crosses_slowly_and_hinders_no_other(name: str) -> None:
    place = lab.up(document("06-proxy-data-plane", ("subnet: 10.1.1.0/24", "subnet: 10.1.0.0/16")), name)
    names = lab.names_of(name)
    known(names, "vm1", "vm4")
    vm1, vm2 = names.end_point("vm1"), names.end_point("vm2")
    begun = time.monotonic()

    def scan() -> None:
        with socket_in(vm1.netns, socket.AF_PACKET, socket.SOCK_RAW) as out:
            for number in range(65536):
                said = arp.request(VM1, vm1.addresses[0], f"10.1.{number >> 8}.{number & 255}").encode()
                out.sendto(Ethernet(BROADCAST, VM1, ARP).encode(said), ("eth0", 0))

    def under_scan() -> None:
        found = stream(vm1.netns, vm1.addresses[0], address(names, "vm4"), count=300, interval=0.01, meanwhile=scan)
        assert found.received == found.sent, str(found)

    crossed = len(arps(names, under_scan))
    seconds = time.monotonic() - begun
    assert 0 < crossed <= 2 * (100 * (seconds + 2)) + 100, "two far gateways, 100 questions a second and host"
    known(names, "vm2", "vm4")
    assert vm2.addresses[0] in {row["ip"] for row in fleet.rows(place, "gw2", "arp")}
    rows = fleet.rows(place, "gw1", "arp")
    assert {row["ip"] for row in rows} >= {vm1.addresses[0], vm2.addresses[0], address(names, "vm4")}
    assert len(rows) < 10, "what nobody has is not remembered"
