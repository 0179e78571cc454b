"""IP tunnels between two hosts, over real sockets and devices."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.l2.l2_world import PATIENCE, Underlay, ip
from tests.l2.user.iptunnel.tunnel_stage import DEVICE, OWN, bring, plan, tunnels
from tests.l2.user.stage import captured, datagram, eventually, sha256, stream
from weft.l2.user.iptunnel.tunnels import IpTunnels
from weft.model.errors import WeftError
from weft.netlink.ethtool import set_offloads
from weft.netlink.namespace import socket_in
from weft.plan import tables
from weft.plan.iptunnel import tunnel_diff
from weft.wire.packet import dissect
from weft.wire.verify import wrong_checksums

pytestmark = pytest.mark.system

REPOSITORY = Path(__file__).resolve().parents[4]


def ping(host: str, *words: str) -> str:
    return subprocess.run(
        ["ip", "netns", "exec", host, "ping", "-c", "1", "-W", "10", *words],
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def test_packets_cross_as_flannels(underlay: Underlay) -> None:
    """TTL, ports, "don't fragment", nothing before the packet; answers to what can't be carried."""
    here, there = underlay.hosts
    with tunnels(underlay), captured(there, "eth1") as frames:
        assert "ttl=62" in ping(here, OWN[1])
        assert "Destination Net Unreachable" in ping(here, "10.2.99.9")
        assert "Time to live exceeded" in ping(here, "-t", "1", OWN[1])
        assert "Time to live exceeded" in ping(here, "-t", "2", OWN[1])
        assert "mtu=1472" in _oversized(here)
    seen = [packet for packet in map(dissect, frames) if packet.udp and packet.udp.dst_port == 8285]
    request = seen[0]
    assert request.ip
    assert request.udp
    assert (request.udp.src_port, request.ip.ttl, request.ip.dont_fragment) == (8285, 64, True)  # type: ignore[union-attr]
    inner = dissect(bytes(12) + b"\x08\x00" + request.payload)
    assert inner.ip
    assert (inner.ip.src, inner.ip.dst, inner.ip.ttl, wrong_checksums(inner)) == (OWN[0], OWN[1], 63, ())  # type: ignore[union-attr]


def _oversized(host: str) -> str:
    """What the stack says of a packet that must not be fragmented and is longer than the tunnel's MTU."""
    command = ["ip", "netns", "exec", host, "ping", "-c", "1", "-W", "10", "-M", "do", "-s", "1460", OWN[1]]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


def test_tcp_arrives_whole_both_ways(underlay: Underlay) -> None:
    here, there = underlay.hosts
    data = os.urandom(8 << 20)
    with tunnels(underlay):
        for source, target, address in ((here, there, OWN[1]), (there, here, OWN[0])):
            assert stream(source, target, address, data) == sha256(data)


def test_wire_packets_are_right_without_offloads(underlay: Underlay) -> None:
    """What a NIC would see: every segment by itself, outer and inner checksums finished."""
    here, there = underlay.hosts
    for host in underlay.hosts:
        set_offloads("eth1", False, host)
    data = os.urandom(1 << 20)
    with tunnels(underlay), captured(there, "eth1") as frames:
        assert stream(here, there, OWN[1], data) == sha256(data)
    carried = [packet for packet in map(dissect, frames) if packet.udp and packet.udp.dst_port == 8285]
    assert len(carried) > 700
    for packet in carried:
        inner = dissect(bytes(12) + b"\x08\x00" + packet.payload)
        assert (wrong_checksums(packet), wrong_checksums(inner)) == ((), ())
        assert len(packet.payload) <= 1472


def test_a_narrower_path_gets_fragments(underlay: Underlay) -> None:
    """What flannel's socket does too: nothing is lost where the underlay's path is narrower than its device."""
    here, there = underlay.hosts
    ip(here, "ip", "route", "add", underlay.vteps[1], "dev", "eth1", "src", underlay.vteps[0], "mtu", "1300")
    data = os.urandom(2 << 20)
    with tunnels(underlay) as (mine, _):
        assert stream(here, there, OWN[1], data) == sha256(data)
        assert mine.counters().drops == {}


def test_strangers_are_not_believed(underlay: Underlay) -> None:
    here, there = underlay.hosts
    with tunnels(underlay) as (mine, _):
        ip(there, "ip", "address", "add", "192.168.33.66/24", "dev", "eth1")
        datagram(there, "192.168.33.66", (underlay.vteps[0], 8285), bytes.fromhex("45"))
        assert eventually(lambda: mine.counters().drops.get("not a member") == 1)
        datagram(there, underlay.vteps[1], (underlay.vteps[0], 8285), os.urandom(64))
        assert eventually(lambda: sum(mine.counters().drops.values()) == 2)
        assert "ttl=62" in ping(here, OWN[1])


@contextmanager
def probed(source: str, target: str) -> Iterator[list[int]]:
    """UDP datagrams from one host to the other over the tunnel, 500 a second; the numbers of those that arrived."""
    got: list[int] = []
    done = threading.Event()
    with (
        socket_in(target, socket.AF_INET, socket.SOCK_DGRAM) as taker,
        socket_in(source, socket.AF_INET, socket.SOCK_DGRAM) as giver,
    ):
        taker.bind((OWN[1], 7000))
        taker.settimeout(3)

        def take() -> None:
            while True:
                try:
                    got.append(int.from_bytes(taker.recv(100), "big"))
                except TimeoutError:
                    if done.is_set():
                        return

        def give() -> None:
            number = 0
            while not done.is_set():
                giver.sendto(number.to_bytes(4, "big"), (OWN[1], 7000))
                number += 1
                time.sleep(0.002)

        threads = [threading.Thread(target=each, daemon=True) for each in (take, give)]
        for thread in threads:
            thread.start()
        try:
            assert eventually(lambda: len(got) > 20)
            yield got
            so_far = len(got)
            assert eventually(lambda: len(got) > so_far + 20)
        finally:
            done.set()
            for thread in threads:
                thread.join()


def test_routes_are_replaced_under_traffic(underlay: Underlay) -> None:
    rows = [(f"{OWN[1]}/24", underlay.vteps[1])]
    many = [(f"10.2.{n}.0/24", f"192.168.33.{n}") for n in range(20, 220)]
    with tunnels(underlay) as (mine, _), probed(*underlay.hosts) as got:
        for _ in range(5):
            bring(mine, plan(underlay, 0, [*rows, *many]))
            bring(mine, plan(underlay, 0, [*rows, (f"{OWN[1]}/32", underlay.vteps[1])]))
            bring(mine, plan(underlay, 0, [*rows]))
        drops = mine.counters().drops
    assert got == list(range(len(got)))
    assert drops == {}


_OWNER = """
import sys, time
from tests.l2.l2_world import PATIENCE, Underlay
from tests.l2.user.iptunnel.tunnel_stage import bring, plan
from weft.l2.user.iptunnel.tunnels import IpTunnels
world = Underlay(sys.argv[1], (sys.argv[1] + "h1", sys.argv[1] + "h2"))
bring(IpTunnels("flannel", world.hosts[0]), plan(world, 0))
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_owner_is_succeeded_without_loss(underlay: Underlay) -> None:
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-c", _OWNER, underlay.prefix]
    successor = IpTunnels("flannel", underlay.hosts[0])
    with (
        tunnels(underlay, 1),
        subprocess.Popen(
            command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths}, cwd=REPOSITORY
        ) as owner,
    ):
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"ready\n"
            forwarder = successor.pid
            with probed(*underlay.hosts) as got:
                owner.send_signal(signal.SIGKILL)
                owner.wait()
                assert bring(successor, plan(underlay, 0)) == []
            assert got == list(range(len(got)))
            assert successor.pid == forwarder is not None
            successor.stop()  # not a child of ours: it is gone all the same, and with it its port
            with socket_in(underlay.hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as free:
                free.bind((underlay.vteps[0], 8285))
        finally:
            owner.kill()
            successor.stop()
            successor.close()


def test_a_removed_device_is_told_and_made_again(underlay: Underlay) -> None:
    here = underlay.hosts[0]
    with tunnels(underlay) as (mine, _):
        fd = mine.events_fd()
        ip(here, "ip", "link", "delete", DEVICE)
        assert select.select([fd], [], [], PATIENCE)[0]
        assert [what.split(":")[0] for what in mine.events()] == [f"ip tunnel {DEVICE}"]
        assert bring(mine, plan(underlay, 0)) != []
        assert "ttl=62" in ping(here, OWN[1])
        ip(here, "ip", "route", "delete", "10.2.0.0/16")
        ip(here, "ip", "address", "flush", "dev", DEVICE)
        ip(here, "ip", "link", "set", DEVICE, "mtu", "1400", "down")
        assert len(mine.observe()[DEVICE].flaws) == 4
        bring(mine, plan(underlay, 0))
        assert "ttl=62" in ping(here, OWN[1])


def test_a_dead_forwarder_is_told_and_replaced(underlay: Underlay) -> None:
    with tunnels(underlay) as (mine, _):
        fd = mine.events_fd()
        assert mine.pid is not None
        os.kill(mine.pid, signal.SIGKILL)
        assert select.select([fd], [], [], PATIENCE)[0]
        assert mine.events() == ["the forwarder ended"]
        assert mine.observe() == {}
        bring(mine, plan(underlay, 0))
        assert "ttl=62" in ping(underlay.hosts[0], OWN[1])


def test_everything_of_a_tunnel_changes_in_place(underlay: Underlay) -> None:
    here, there = underlay.hosts
    with tunnels(underlay) as (mine, other):
        ip(here, "ip", "address", "add", "192.168.33.112/24", "dev", "eth1")
        moved = plan(underlay, 0, None, local="192.168.33.112", udp_port=8286, mtu=1300, address="10.2.5.1/32")
        bring(mine, moved)
        told = plan(underlay, 1, [("10.2.5.0/24", "192.168.33.112")], udp_port=8286)
        bring(other, told)
        assert "ttl=62" in ping(there, "10.2.5.1")
        assert mine.apply(tunnel_diff({}, mine.observe())) == []
        assert mine.observe() == {}
        assert subprocess.run(["ip", "-n", here, "link", "show", DEVICE], capture_output=True, check=False).returncode


def test_what_is_in_the_way_is_named_and_nothing_is_changed(underlay: Underlay) -> None:
    here = underlay.hosts[0]
    mine = IpTunnels("flannel", here)
    try:
        ip(here, "ip", "tuntap", "add", DEVICE, "mode", "tun")
        ((_, error), *_) = mine.apply(tunnel_diff({DEVICE: plan(underlay, 0)}, mine.observe()))
        assert str(error).startswith("flannel0: the host has a device of this name, which is not weft's; stop flanneld")
        ip(here, "ip", "link", "delete", DEVICE)
        with socket_in(here, socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((underlay.vteps[0], 8285))
            ((_, error), *_) = mine.apply(tunnel_diff({DEVICE: plan(underlay, 0)}, {}))
        assert isinstance(error, WeftError)
        assert "address already in use; stop flanneld, or whatever else has this UDP port here" in str(error)
        assert mine.observe() == {}
        bring(mine, plan(underlay, 0, [*tables.text(tables.Table.ROUTES, plan(underlay, 0).routes)]))  # type: ignore[list-item]
    finally:
        mine.stop()
        mine.close()
