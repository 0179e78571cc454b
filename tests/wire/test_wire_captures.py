"""Packets of real systems: expected values, and the same bytes when built again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire.wire_frames import CAPTURES, frames_of
from weft.wire import arp, nd
from weft.wire.arp import Arp
from weft.wire.checksum import checksum
from weft.wire.describe import describe
from weft.wire.ethernet import Ethernet
from weft.wire.icmp import Icmp
from weft.wire.ipv4 import IPv4
from weft.wire.packet import dissect
from weft.wire.udp import Udp
from weft.wire.verify import wrong_checksums
from weft.wire.vxlan import Vxlan

COUNTS = {
    "flannel-udp": 4,
    "flannel-vxlan": 4,
    "kernel-multicast": 6,
    "ovs-multi-vni": 73,
    "ovs-single-vni": 40,
}


def named(name: str) -> Path:
    return next(path for path in CAPTURES if path.stem == name)


def test_every_capture_is_read_whole() -> None:
    assert {path.stem: len(frames_of(path)) for path in CAPTURES} == COUNTS


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_decoded_packets_build_the_same_bytes(path: Path) -> None:
    for frame in frames_of(path):
        packet = dissect(frame)
        assert packet.error == ""
        wrong = wrong_checksums(packet)
        assert wrong in ((), ("udp",))
        if wrong:
            # Offloads were on: the field holds the sum over the pseudo header alone, for a NIC that never came.
            assert packet.ip
            assert packet.udp
            assert packet.udp.checksum == ~checksum(packet.ip.pseudo().encode(17, packet.udp.length)) & 0xFFFF
            frame = frame[:40] + packet.encode()[40:42] + frame[42:]
        assert packet.encode() == frame
        if packet.inner:
            assert packet.inner.encode() == packet.payload
        inner = packet.innermost
        if inner.nd and inner.ip:
            assert inner.nd.encode(inner.ip.pseudo()) == inner.segment()


def test_kernel_multicast_values() -> None:
    packet = dissect(frames_of(named("kernel-multicast"))[0])
    assert packet.ethernet == Ethernet("01:00:5e:01:01:01", packet.ethernet.src, 0x0800)
    assert packet.ip == IPv4("192.168.33.12", "239.1.1.1", 17, ttl=1, identification=packet.ip.identification)
    assert packet.udp == Udp(33512, 4789)
    assert packet.vxlan == Vxlan(1)
    assert packet.vxlan.flags == 8
    assert packet.inner
    assert packet.inner.ethernet == Ethernet("ff:ff:ff:ff:ff:ff", "0e:53:ca:fd:0f:17", 0x0806)
    assert packet.inner.arp == Arp(arp.REQUEST, "0e:53:ca:fd:0f:17", "10.1.1.2", "00:00:00:00:00:00", "10.1.1.3")


def test_kernel_multicast_lines() -> None:
    lines = [describe(dissect(frame)) for frame in frames_of(named("kernel-multicast"))[:4]]
    outer = "192.168.33.{} udp {}>4789 ttl {} vxlan vni 1 | "
    h1, h2 = "0e:53:ca:fd:0f:17", "e6:a2:3a:2f:21:63"
    assert lines == [
        "192.168.33.12 > 239.1.1.1 udp 33512>4789 ttl 1 vxlan vni 1 | "
        f"{h1} > broadcast arp request who-has 10.1.1.3 tell 10.1.1.2",
        outer.format("13 > 192.168.33.12", 33512, 64) + f"{h2} > {h1} arp reply 10.1.1.3 is-at {h2}",
        outer.format("12 > 192.168.33.13", 53035, 64)
        + f"{h1} > {h2} 10.1.1.2 > 10.1.1.3 icmp echo request id 10256 seq 1 ttl 64",
        outer.format("13 > 192.168.33.12", 53035, 64)
        + f"{h2} > {h1} 10.1.1.3 > 10.1.1.2 icmp echo reply id 10256 seq 1 ttl 64",
    ]


def test_flannel_udp_carries_bare_ip() -> None:
    packet = dissect(frames_of(named("flannel-udp"))[0])
    assert packet.inner
    assert packet.inner.ethernet is None
    assert packet.inner.ip
    assert (packet.inner.ip.src, packet.inner.ip.dst, packet.inner.ip.ttl) == ("10.6.84.1", "10.6.20.1", 32)
    assert packet.inner.icmp == Icmp(8, 0, 7979 << 16 | 1)
    assert dissect(frames_of(named("flannel-udp"))[0], ip_ports=()).inner is None


def test_flannel_vxlan_needs_its_port() -> None:
    frame = frames_of(named("flannel-vxlan"))[0]
    assert dissect(frame).vxlan == Vxlan(1)
    assert dissect(frame, vxlan_ports={4789}).vxlan is None


def test_ovs_neighbor_solicitation_probes_for_duplicates() -> None:
    packet = dissect(frames_of(named("ovs-multi-vni"))[2]).innermost
    assert isinstance(packet.nd, nd.NeighborSolicitation)
    assert packet.nd.target == "fe80::a8f9:12ff:fea0:a0f5"
    assert packet.nd.source_link is None
    assert packet.ip
    assert packet.ip.src == "::"
    assert packet.ip.dst == nd.solicited_node(packet.nd.target)


def test_ovs_mld_report_names_its_group() -> None:
    assert describe(dissect(frames_of(named("ovs-multi-vni"))[0])) == (
        "192.168.77.2 > 192.168.77.1 udp 59992>4789 ttl 64 vxlan vni 5002 | "
        "b6:74:4d:de:7a:72 > 33:33:00:00:00:16 :: > ff02::16 mld v2 report ff02::1:ffde:7a72 ttl 1"
    )
