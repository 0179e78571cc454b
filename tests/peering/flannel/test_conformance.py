"""Weft and an independent node of the same flannel network, one etcd between them: both backends, both directions."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.l2.user.stage import captured, sha256, stream
from tests.peering.flannel.etcd import ENDPOINT, PREFIX, Etcd
from tests.peering.flannel.fabric import Fabric, Host
from tests.peering.flannel.node import PATIENCE, Node, until
from weft.netlink.namespace import socket_in
from weft.wire.packet import dissect
from weft.wire.verify import wrong_checksums

pytestmark = pytest.mark.system
Make = Callable[..., Node]
OURS, THEIRS = "10.2.5.0/24", "10.2.14.0/24"
HERE, THERE = "10.2.5.2", "10.2.14.2"
HOPS = {"vxlan": 2, "udp": 4}
"""What a packet's TTL loses between two containers: a hop at each host, and two more in user space."""


@contextmanager
def peer(host: Host) -> Iterator[subprocess.Popen[str]]:
    """The independent node on a host, ready."""
    command = ["ip", "netns", "exec", host.namespace, sys.executable, str(Path(__file__).parent / "peer.py")]
    process = subprocess.Popen(
        [*command, ENDPOINT, PREFIX, str(host.address), "eth0", THEIRS], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(params=["vxlan", "udp"])
def backend(request: pytest.FixtureRequest, server: Etcd) -> str:
    """The network's configuration in etcd, written as SCENARIOS 10 has it."""
    kind: str = request.param
    spelt = {"vxlan": "vxlan", "udp": "UDP"}[kind]
    bounds = '"SubnetLen":24,"SubnetMin":"10.2.1.0","SubnetMax":"10.2.20.0"'
    server.put("config", f'{{"Network":"10.2.0.0/16",{bounds},"Backend":{{"Type":"{spelt}"}}}}')
    return kind


def reaches(namespace: str, target: str) -> re.Match[str] | None:
    words = ["ip", "netns", "exec", namespace, "ping", "-c", "1", "-W", "10", target]
    return re.search(r"ttl=(\d+)", subprocess.run(words, capture_output=True, text=True, check=False).stdout)


def said(namespace: str, *words: str) -> str:
    """What a ping prints, answered or not."""
    command = ["ip", "netns", "exec", namespace, "ping", "-c", "1", "-W", "10", *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


def test_packets_pass_both_ways(backend: str, server: Etcd, node: Make, hosts: Fabric) -> None:
    mine = node(5)
    mine.pin(OURS)
    mine.up()
    other = hosts.host(14)
    inside, outside = hosts.containers(mine.host, OURS), hosts.containers(other, THEIRS)
    with peer(other) as process, captured(other.namespace, "eth0") as frames:
        if backend == "udp":
            assert server.leases()[f"subnets/{OURS.replace('/', '-')}"] == (
                '{"PublicIP":"192.168.136.5","PublicIPv6":null}'
            )
        until(lambda: reaches(inside, THERE), "no answer from the other's container")
        for namespace, target in ((inside, THERE), (outside, HERE)):
            found = reaches(namespace, target)
            assert found
            assert int(found[1]) == 64 - HOPS[backend]
        data = os.urandom(4 << 20)
        assert stream(inside, outside, THERE, data) == sha256(data)
        assert stream(outside, inside, HERE, data) == sha256(data)
        assert f"mtu = {1450 if backend == 'vxlan' else 1472}" in _oversized(mine.host.namespace, "10.2.14.1")
        if backend == "udp":
            assert "From 10.2.5.0 icmp_seq=1 Destination Net Unreachable" in said(inside, "10.2.99.9")
            assert "From 10.2.14.0 icmp_seq=1 Destination Net Unreachable" in said(outside, "10.2.99.9")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        until(lambda: not reaches(inside, THERE), "a node that left is still there")
    if backend == "udp":
        _as_on_the_wire(frames)
    assert mine.end() == 0
    mine.start("--cleanup")
    assert mine.exits() == 0
    assert "flannel" not in mine.host.ip("-o", "link")
    assert "proto 88" not in mine.host.ip("route")


def _oversized(namespace: str, target: str) -> str:
    """What the stack says of a packet that must not be fragmented and is longer than the overlay's MTU."""
    text = said(namespace, "-M", "do", "-s", "1473", target)
    return text.replace("mtu=", "mtu = ")


def _as_on_the_wire(frames: list[bytes]) -> None:
    """Every datagram: both ports flannel's, a whole IPv4 packet, TTL as after one hop in user space."""
    carried = [
        packet for packet in map(dissect, frames) if packet.udp and 8285 in (packet.udp.src_port, packet.udp.dst_port)
    ]
    pings = 0
    for packet in carried:
        assert packet.udp
        assert (packet.udp.src_port, packet.udp.dst_port) == (8285, 8285)
        inner = dissect(bytes(12) + b"\x08\x00" + packet.payload)
        if inner.icmp and inner.icmp.type in (0, 8):
            pings += 1
            assert inner.ip
            assert inner.ip.ttl == 62  # type: ignore[union-attr]
            assert wrong_checksums(inner) == ()
    assert pings >= 4


@contextmanager
def probed(source: str, target: str) -> Iterator[list[int]]:
    """Numbered datagrams between two namespaces, 200 a second; those that arrived."""
    got: list[int] = []
    done = threading.Event()
    with (
        socket_in(target, socket.AF_INET, socket.SOCK_DGRAM) as taker,
        socket_in(source, socket.AF_INET, socket.SOCK_DGRAM) as giver,
    ):
        taker.bind((THERE, 7000))
        taker.settimeout(3)

        def take() -> None:
            while True:
                try:
                    got.append(int.from_bytes(taker.recv(100), "big"))
                except TimeoutError:
                    if done.is_set():
                        return

        def give() -> None:
            for number in range(1 << 30):
                if done.is_set():
                    return
                giver.sendto(number.to_bytes(4, "big"), (THERE, 7000))
                time.sleep(0.005)

        threads = [threading.Thread(target=each, daemon=True) for each in (take, give)]
        for thread in threads:
            thread.start()
        try:
            yield got
        finally:
            done.set()
            for thread in threads:
                thread.join()


def test_nothing_is_lost_while_etcd_and_the_daemon_are_down(
    backend: str, server: Etcd, node: Make, hosts: Fabric
) -> None:
    mine = node(5)
    mine.pin(OURS)
    mine.up()
    other = hosts.host(14)
    inside, outside = hosts.containers(mine.host, OURS), hosts.containers(other, THEIRS)
    with peer(other):
        until(lambda: reaches(inside, THERE), "no answer from the other's container")
        with probed(inside, outside) as got:
            until(lambda: len(got) > 50, "nothing arrives")
            server.stop()
            _more(got)
            mine.kill()
            _more(got)
            mine.start()
            _more(got)
            server.start()
            mine.wait()
            _more(got)
        assert got == list(range(len(got)))
        assert set(server.leases()) == {"subnets/10.2.5.0-24", "subnets/10.2.14.0-24"}


def _more(got: list[int]) -> None:
    """Waits for a good many more."""
    so_far = len(got)
    until(lambda: len(got) > so_far + 200, "packets stopped")
