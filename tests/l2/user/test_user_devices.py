"""What the device of a port is, what it takes from others, and what stays of it when the port changes."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.l2.l2_world import BLUE, IPS, MACS, PATIENCE, Overlay, Underlay, bring, ip, reaches
from tests.l2.user.stage import AGENT, eventually, sha256, stage, stream, told, user
from weft.l2.user.datapath import UserDatapath
from weft.model.network import Arp
from weft.model.port import Attach, AttachKind
from weft.netlink import namespace
from weft.netlink.channel import Channel
from weft.netlink.links import Change, Links, Peer
from weft.netlink.namespace import socket_in
from weft.plan.diff import diff
from weft.plan.node import NodePlan
from weft.plan.port import LocalPort
from weft.wire.arp import REPLY, reply, request
from weft.wire.ethernet import ARP, Ethernet
from weft.wire.packet import dissect

pytestmark = pytest.mark.system

A4, B4 = (ips[0].split("/")[0] for ips in IPS)
B6 = IPS[1][1].split("/")[0]
LEARNING = Overlay(learning=True, arp=Arp.FLOOD)
REPOSITORY = Path(__file__).resolve().parents[3]


def test_an_interface_is_read_and_released(underlay: Underlay) -> None:
    """A device of the host as a port: frames of 64 KiB pass it too, VLAN tags stay."""
    with stage(underlay, LEARNING) as (mine, _):
        inside, host = underlay.namespace("c"), underlay.hosts[0]
        with namespace.opened(inside) as fd:
            change = Change(name="tenant", kind="veth", mac="02:00:00:00:00:c0", mtu=1430, quiet=True)
            Links(Channel(namespace=host)).create(change, Peer("eth0", "02:00:00:00:00:0c", 1430, fd))
        ip(host, "ip", "link", "set", "tenant", "up", "alias", "somebody's")
        ip(host, "ip", "address", "add", "fe80::7/64", "dev", "tenant")  # as the kernel gives every device that is up
        ip(inside, "ip", "link", "set", "eth0", "up")
        ip(inside, "ip", "address", "add", "10.1.1.13/24", "dev", "eth0")
        wanted = LEARNING.plan(underlay, 0)
        attach = Attach(kind=AttachKind.INTERFACE, target="tenant")
        port = LocalPort("c", BLUE, attach, "02:00:00:00:00:0c", ("10.1.1.13/24",), 1430)
        bring(mine, NodePlan(wanted.node, wanted.segments, wanted.tables, wanted.ports | {"c": port}))  # type: ignore[arg-type]
        assert reaches(underlay, B4, source="c")
        assert reaches(underlay, A4, source="c")
        data = os.urandom(4 << 20)
        assert stream(inside, f"{underlay.prefix}b", B4, data) == sha256(data)
        assert stream(f"{underlay.prefix}b", inside, "10.1.1.13", data) == sha256(data)
        assert stream(f"{underlay.prefix}a", inside, "10.1.1.13", data) == sha256(data)
        with socket_in(f"{underlay.prefix}b", 2, 2) as listener, socket_in(inside, 2, 2) as out:
            listener.settimeout(PATIENCE)
            listener.bind((B4, 7000))
            out.setsockopt(17, 103, 1000)  # UDP_SEGMENT: one frame of the port is ten datagrams
            out.sendto(data[:10000], (B4, 7000))
            assert b"".join(listener.recv(2000) for _ in range(10)) == data[:10000]
        bring(mine, wanted)  # type: ignore[arg-type]
        link = Links(Channel(namespace=host)).get("tenant")
        assert link is not None
        assert link.alias == "somebody's"


def test_a_virtual_machine_opens_its_tap(underlay: Underlay) -> None:
    with stage(underlay, LEARNING) as (mine, _):
        wanted, host = LEARNING.plan(underlay, 0), underlay.hosts[0]
        attach = Attach(kind=AttachKind.TAP, target="vm0")
        port = LocalPort("vm", BLUE, attach, "02:00:00:00:00:0d", ("10.1.1.14/24",), 1430)
        bring(mine, NodePlan(wanted.node, wanted.segments, wanted.tables, wanted.ports | {"vm": port}))  # type: ignore[arg-type]
        with namespace.entered(host):
            machine = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(machine, 0x400454CA, struct.pack("16sH22x", b"vm0", 0x1002))  # TUNSETIFF: TAP, no header
        try:
            frame = request(port.mac, "10.1.1.14", B4).encode()
            answer = None
            for _ in range(120):  # asked again as a machine would: a frame may go by before the port forwards
                os.write(machine, Ethernet("ff:ff:ff:ff:ff:ff", port.mac, ARP).encode(frame))
                while answer is None and select.select([machine], [], [], 0.5)[0]:
                    packet = dissect(os.read(machine, 2000))
                    answer = packet.arp if packet.arp and packet.arp.operation == REPLY else None
                if answer:
                    break
            assert answer == reply(request(port.mac, "10.1.1.14", B4), MACS[1])
        finally:
            os.close(machine)
        bring(mine, wanted)  # type: ignore[arg-type]
        assert Links(Channel(namespace=host)).get("vm0") is None


def test_what_a_machine_holds_open_stays_whatever_changes(underlay: Underlay) -> None:
    """A TAP that is deleted and made again is dead to who has it open."""
    with stage(underlay, LEARNING) as (mine, _):
        assert isinstance(mine, UserDatapath)
        wanted, host = LEARNING.plan(underlay, 0), underlay.hosts[0]
        attach = Attach(kind=AttachKind.TAP, target="vm0")
        port = LocalPort("vm", BLUE, attach, "02:00:00:00:00:0d", ("10.1.1.14/24",), 1430)

        def become(port: LocalPort) -> None:
            bring(mine, NodePlan(wanted.node, wanted.segments, wanted.tables, wanted.ports | {"vm": port}))  # type: ignore[arg-type]

        become(port)
        with namespace.entered(host):
            machine = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(machine, 0x400454CA, struct.pack("16sH22x", b"vm0", 0x1002))  # TUNSETIFF: TAP, no header

        def asks(address: str) -> bool:
            frame = request(port.mac, address, B4).encode()
            os.write(machine, Ethernet("ff:ff:ff:ff:ff:ff", port.mac, ARP).encode(frame))
            while select.select([machine], [], [], 0.5)[0]:
                packet = dissect(os.read(machine, 2000))
                if packet.arp and packet.arp.operation == REPLY and packet.arp.target_ip == address:
                    return True
            return False

        try:
            assert eventually(lambda: asks("10.1.1.14"))
            port = replace(port, mtu=1300, addresses=("10.1.1.15/24",), isolated=True)
            become(port)
            assert Links(Channel(namespace=host)).get("vm0").mtu == 1300  # type: ignore[union-attr]
            assert eventually(lambda: asks("10.1.1.15"))
            ip(host, "ip", "link", "set", "vm0", "mtu", "1200")
            ip(host, "ip", "address", "add", "10.9.9.9/24", "dev", "vm0")
            assert sorted(mine.observe().flaws["vm"]) == ["vm0 has 10.9.9.9/24", "vm0 has MTU 1200"]
            become(port)
            ip(host, "ip", "link", "set", "vm0", "down")
            assert eventually(lambda: "vm" in mine.observe().flaws)
            become(port)
            assert not mine.observe().flaws
            assert eventually(lambda: asks("10.1.1.15"))
            port = replace(port, attach=Attach(kind=AttachKind.TAP, target="vm1"))
            become(port)
            assert eventually(lambda: asks("10.1.1.15"))
            ip(host, "ip", "link", "set", "vm1", "down", "name", "mine")
            assert "vm" in mine.observe().flaws
            become(port)
            assert eventually(lambda: asks("10.1.1.15"))
            ip(host, "ip", "link", "add", "vm2", "type", "bridge")
            taken = replace(port, attach=Attach(kind=AttachKind.TAP, target="vm2"))
            there = mine.observe()
            ((_, refusal),) = mine.apply(diff(replace(wanted, ports=wanted.ports | {"vm": taken}), there)).failed
            assert "the host has a device vm2 already, which is not weft's" in str(refusal)
            assert mine.observe() == there
            assert eventually(lambda: asks("10.1.1.15"))
            ip(host, "ip", "link", "set", "vm1", "down", "name", "mine")
            bring(mine, wanted)  # type: ignore[arg-type]
            assert not {"vm0", "vm1", "mine"} & {link.name for link in Links(Channel(namespace=host)).dump()}
        finally:
            os.close(machine)


def test_devices_exchange_their_names(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        wanted, links = Overlay().plan(underlay, 0), Links(Channel(namespace=f"{underlay.prefix}a"))
        first, second = (replace(wanted.ports["a"], name=name, addresses=()) for name in ("x", "y"))
        taps = [Attach(kind=AttachKind.NAMESPACE, target="a", interface=name) for name in ("eth0", "eth1")]
        seen = []
        for one, other in (taps, taps[::-1], taps):
            ports = {"x": replace(first, attach=one), "y": replace(second, attach=other)}
            bring(mine, replace(wanted, ports=ports))  # type: ignore[arg-type]
            there = {name: links.get(name) for name in ("eth0", "eth1")}
            seen.append([link and link.index for link in there.values()])
        assert seen[0] == seen[1][::-1] == seen[2]


def test_what_others_put_by_a_device_outlasts_its_changes(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        inside, wanted = f"{underlay.prefix}a", Overlay().plan(underlay, 0)
        ip(inside, "ip", "route", "add", "203.0.113.0/24", "via", B4)
        smaller = replace(wanted.ports["a"], mtu=1300)
        bring(mine, NodePlan(wanted.node, wanted.segments, wanted.tables, {"a": smaller}))  # type: ignore[arg-type]
        assert reaches(underlay, B4)
        other = replace(smaller, attach=Attach(kind=AttachKind.NAMESPACE, target="a", interface="net0"))
        bring(mine, NodePlan(wanted.node, wanted.segments, wanted.tables, {"a": other}))  # type: ignore[arg-type]
        assert reaches(underlay, B4)
        ip(inside, "ip", "route", "delete", "203.0.113.0/24", "via", B4)  # fails where it is not there
        ip(inside, "ip", "link", "set", "net0", "down", "name", "mine")
        assert mine.observe().flaws["a"] == ("net0 is called mine",)
        bring(mine, NodePlan(wanted.node, wanted.segments, wanted.tables, {"a": other}))  # type: ignore[arg-type]
        assert reaches(underlay, B4)


def test_a_namespace_that_is_made_anew_is_told_and_gets_its_port(underlay: Underlay) -> None:
    """As a container that is restarted; another program's eth0 in it is not ours to change."""
    with stage(underlay, Overlay()) as (mine, _):
        assert isinstance(mine, UserDatapath)
        inside, wanted = f"{underlay.prefix}a", Overlay().plan(underlay, 0)
        mine.events_fd()
        mine.events()
        mine.observe()
        namespace.delete(inside)
        told(mine, f"namespace {inside}: gone")
        assert mine.observe().flaws["a"] == (f"port a: namespace '{inside}' does not exist; ip netns add {inside}",)
        namespace.create(inside)
        link = Links(Channel(namespace=inside)).create(Change(name="eth0", kind="bridge"))
        left = Links(Channel(namespace=inside)).get("eth0")
        failed = mine.apply(diff(wanted, mine.observe())).failed
        assert "which is not weft's" in str(failed[0][1])
        assert Links(Channel(namespace=inside)).get("eth0") == left
        Links(Channel(namespace=inside)).delete(link)
        bring(mine, wanted)  # type: ignore[arg-type]
        assert reaches(underlay, B4)


def _overlay_inside(world: Underlay) -> None:
    """A VXLAN of the end points' own between them: 10.7.0.11 and 10.7.0.12."""
    for name, own, other in (("a", A4, B4), ("b", B4, A4)):
        inside, address = f"{world.prefix}{name}", own.replace("10.1.1.", "10.7.0.") + "/24"
        ip(inside, *f"ip link add vx0 type vxlan id 7 local {own} remote {other} dstport 4799".split())
        ip(inside, "ip", "address", "add", address, "dev", "vx0")
        ip(inside, "ip", "link", "set", "vx0", "up")


def test_without_tap_devices_a_veth_pair_serves(underlay: Underlay) -> None:
    """As where /dev/net/tun may not be opened: the forwarder is started with none in sight."""
    for name in "ab":
        underlay.namespace(name)
    bring(underlay.datapath(1), Overlay().plan(underlay, 1))
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    script = 'mount -t tmpfs none /dev/net && exec "$0" -c "$@"'
    agent = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script, sys.executable, AGENT, underlay.prefix],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
        cwd=REPOSITORY,
    )
    mine = user(underlay, 0)
    try:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"ready\n"
        link = Links(Channel(namespace=f"{underlay.prefix}a")).get("eth0")
        assert link is not None
        assert link.kind == "veth"
        assert reaches(underlay, B4)
        data = os.urandom(4 << 20)
        a, b = f"{underlay.prefix}a", f"{underlay.prefix}b"
        assert stream(a, b, B4, data) == sha256(data)
        assert stream(b, a, A4, data) == sha256(data)
        _overlay_inside(underlay)
        assert stream(a, b, "10.7.0.12", data) == sha256(data)
        assert stream(b, a, "10.7.0.11", data) == sha256(data)
        wanted = Overlay().plan(underlay, 0)
        smaller = replace(wanted.ports["a"], mtu=1300)
        bring(mine, NodePlan(wanted.node, wanted.segments, wanted.tables, {"a": smaller}))  # type: ignore[arg-type]
        near = Links(Channel(namespace=underlay.hosts[0])).get("wp-a")
        assert near is not None
        assert near.mtu == 1300
        bring(mine, wanted)  # type: ignore[arg-type]
        assert stream(b, a, A4, data) == sha256(data)
        bring(mine, NodePlan("h1"))  # type: ignore[arg-type]
        assert Links(Channel(namespace=underlay.hosts[0])).get("wp-a") is None
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()  # type: ignore[union-attr]
        mine.stop()
        mine.close()
