"""The user VTEP against the kernel's, on a real underlay: what both say is VXLAN."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.l2.l2_world import BLUE, IPS, MACS, PATIENCE, Overlay, Underlay, bring, ip, reaches
from tests.l2.user.frames import tcp, udp
from tests.l2.user.stage import captured, cast, datagram, eventually, heard, raw, sha256, stage, stream
from tests.l2.user.tx.test_split import datagrams
from weft.l2.datapath import ToPorts, ToTunnels
from weft.model.errors import Kind, WeftError
from weft.model.network import Arp
from weft.model.port import AttachKind
from weft.netlink.ethtool import set_offloads
from weft.netlink.namespace import socket_in
from weft.wire import pcapng
from weft.wire.checksum import PseudoHeader
from weft.wire.ethernet import IPV4, Ethernet
from weft.wire.ipv4 import IPv4
from weft.wire.packet import dissect
from weft.wire.tcp import Tcp
from weft.wire.verify import wrong_checksums
from weft.wire.vxlan import Vxlan

pytestmark = pytest.mark.system

A4, B4 = (ips[0].split("/")[0] for ips in IPS)
A6, B6 = (ips[1].split("/")[0] for ips in IPS)
LEARNING = Overlay(learning=True, arp=Arp.FLOOD)
IN_GROUP = Overlay(learning=True, arp=Arp.FLOOD, group="239.1.1.1", judged=True)
DATA = random.Random(7).randbytes(3 << 20)


@pytest.mark.parametrize("kinds", ["uk", "ku", "uu"])
@pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])
def test_ping_and_tcp_both_ways(underlay: Underlay, kinds: str, six: bool) -> None:
    with stage(underlay, Overlay(six=six), kinds):
        a, b = f"{underlay.prefix}a", f"{underlay.prefix}b"
        assert reaches(underlay, B4)
        assert reaches(underlay, B6)
        assert reaches(underlay, A4, source="b")
        for address, other in ((B4, A4), (B6, A6)):
            assert stream(a, b, address, DATA) == sha256(DATA)
            assert stream(b, a, other, DATA) == sha256(DATA)


@pytest.mark.parametrize("overlay", [LEARNING, IN_GROUP])
def test_learning_broadcast_and_multicast(underlay: Underlay, overlay: Overlay) -> None:
    with stage(underlay, overlay) as (mine, _):
        a, b = f"{underlay.prefix}a", f"{underlay.prefix}b"
        assert reaches(underlay, B4)
        learned = mine.observe().learned[BLUE]
        assert [int(mac) for mac in learned.fdb["mac"]] == [int(MACS[1].replace(":", ""), 16)]
        for target, group in (("10.1.1.255", None), ("239.9.9.9", "239.9.9.9")):
            for src, dst, own, other in ((a, b, A4, B4), (b, a, B4, A4)):
                sent = heard(dst, 7777, group, other, lambda s=src, o=own, t=target: cast(s, o, t, 7777, b"all"))
                assert sent == b"all"


def test_a_group_of_the_underlay_over_ipv6(underlay: Underlay) -> None:
    with stage(underlay, Overlay(learning=True, arp=Arp.FLOOD, group="ff05::101", six=True)):
        assert reaches(underlay, B4)


@pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])
def test_a_group_follows_the_vtep_address_to_another_device(underlay: Underlay, six: bool) -> None:
    overlay = Overlay(learning=True, arp=Arp.FLOOD, group="ff05::101" if six else "239.1.1.1", six=six)
    host, own = underlay.hosts[0], f"{underlay.vteps6[0]}/64" if six else f"{underlay.vteps[0]}/24"
    with stage(underlay, overlay) as (mine, _):
        wanted = overlay.plan(underlay, 0)
        ip(host, "ip", "address", "flush", "dev", "eth1")
        for _ in range(2):
            ip(host, "ip", "link", "add", "br0", "type", "bridge")
            ip(host, "ip", "link", "set", "eth1", "master", "br0")
            ip(host, "ip", "link", "set", "br0", "up")
            ip(host, "ip", "address", "add", own, "dev", "br0", *(["nodad"] if six else []))
            assert "is not joined on the device" in bring(mine, wanted)[0]  # type: ignore[arg-type]
            for name in "ab":
                ip(f"{underlay.prefix}{name}", "ip", "neighbor", "flush", "all")
            assert reaches(underlay, A4, source="b")
            ip(host, "ip", "link", "delete", "br0")


def test_datagrams_without_checksum_arrive_over_ipv6(underlay: Underlay) -> None:
    """RFC 7348 section 5: they must be accepted."""
    frame = Vxlan(5000).encode(udp(b"without checksum", src=MACS[1], dst=MACS[0]))
    with (
        stage(underlay, Overlay(six=True)),
        captured(f"{underlay.prefix}a", "eth0") as frames,
        socket_in(underlay.hosts[1], socket.AF_INET6, socket.SOCK_DGRAM) as out,
    ):
        out.setsockopt(17, 101, 1)  # UDP_NO_CHECK6_TX
        out.bind((underlay.vteps6[1], 0))
        out.sendto(frame, (underlay.vteps6[0], 4789))
        assert eventually(lambda: any(b"without checksum" in each for each in frames))


def test_suppress_keeps_arp_at_home(underlay: Underlay) -> None:
    with stage(underlay, Overlay()), captured(underlay.hosts[0], "eth1") as frames:
        assert reaches(underlay, B4)
        assert not reaches(underlay, "10.1.1.99", tries=1)
    inner = [packet.inner for packet in map(dissect, frames) if packet.inner]
    assert sum(packet.icmp is not None for packet in inner) == 4
    assert not any(packet.arp or packet.nd for packet in inner)


def test_captures_are_clean(underlay: Underlay, tmp_path: Path) -> None:
    for host in underlay.hosts:
        set_offloads("eth1", False, host)
    with stage(underlay, LEARNING, "uu"), captured(underlay.hosts[1], "eth1") as frames:
        assert reaches(underlay, B4)
        a, b = f"{underlay.prefix}a", f"{underlay.prefix}b"
        assert stream(a, b, B4, DATA[:1_000_000]) == sha256(DATA[:1_000_000])
        assert stream(b, a, A6, DATA[:300_000]) == sha256(DATA[:300_000])
    packets = [dissect(frame) for frame in frames]
    overlay = [packet for packet in packets if packet.vxlan]
    assert len(overlay) > 900
    assert {packet.vxlan.vni for packet in overlay if packet.vxlan} == {5000}
    assert all(len(frame) <= 1514 for frame in frames)
    assert [wrong_checksums(packet) for packet in packets if wrong_checksums(packet)] == []
    assert [packet.error for packet in packets if packet.error] == []
    assert all(packet.udp and packet.udp.checksum for packet in overlay)
    assert {packet.ip.ttl for packet in overlay if packet.ip} == {64}
    _tshark(frames, tmp_path / "capture.pcapng", len(overlay))


def _tshark(frames: list[bytes], file: Path, wanted: int) -> None:
    """The same, judged by a stranger."""
    tshark = shutil.which("tshark")
    assert tshark, "install tshark"
    records = [pcapng.Record(0, frame, 0, len(frame)) for frame in frames]
    file.write_bytes(pcapng.write([pcapng.Interface("eth1", 1, 0)], records))
    check = [f"-o{layer}.check_checksum:TRUE" for layer in ("ip", "udp", "tcp")]

    def count(wish: str) -> int:
        run = subprocess.run([tshark, "-r", file, *check, "-Y", wish], capture_output=True, text=True, check=True)
        return len(run.stdout.splitlines())

    assert count("vxlan") == wanted
    bad = "_ws.malformed or ip.checksum.status==0 or udp.checksum.status==0 or tcp.checksum.status==0"
    assert count(bad) == 0


def test_congestion_marks_cross(underlay: Underlay) -> None:
    """An inner ECT(0) packet gives an outer one; an outer mark comes to the inner packet, or drops it (RFC 6040)."""
    with stage(underlay, Overlay()) as (mine, _), captured(underlay.hosts[1], "eth1") as frames:
        mine.inject(BLUE, tcp(b"out", tos=0xB8 | 2), ToTunnels())
        with captured(f"{underlay.prefix}a", "eth0") as seen:
            for tos in (0, 2):
                inner = tcp(b"in %d" % tos, tos=tos).replace(
                    bytes.fromhex("02000000000b"), bytes.fromhex("02000000000a")
                )
                datagram(underlay.hosts[1], underlay.vteps[1], (underlay.vteps[0], 4789), Vxlan(5000).encode(inner), 3)
            assert eventually(lambda: any(b"in 2" in frame for frame in seen))  # in order: the other is dealt with
        assert mine.counters().drops["congestion"] == 1
    (sent,) = [packet for packet in map(dissect, frames) if packet.inner and packet.inner.payload == b"out"]
    assert isinstance(sent.ip, IPv4)
    assert sent.ip.tos == 2
    (arrived,) = [packet for packet in map(dissect, seen) if packet.payload.startswith(b"in ")]
    assert isinstance(arrived.ip, IPv4)
    assert (arrived.payload, arrived.ip.tos) == (b"in 2", 3)


@pytest.mark.parametrize("overlay", [LEARNING, IN_GROUP], ids=["flood list", "group"])
def test_strangers_and_noise_are_counted_and_without_effect(underlay: Underlay, overlay: Overlay) -> None:
    ip(underlay.hosts[1], "ip", "address", "add", "192.168.33.77/24", "dev", "eth1")
    with stage(underlay, overlay) as (mine, _), captured(f"{underlay.prefix}a", "eth0") as seen:
        assert reaches(underlay, B4)
        before = mine.observe()
        port = (underlay.vteps[0], 4789)
        forged = Vxlan(5000).encode(udp(b"forged", src="02:00:00:00:00:66", dst="ff:ff:ff:ff:ff:ff"))
        datagram(underlay.hosts[1], "192.168.33.77", port, forged)
        datagram(underlay.hosts[1], underlay.vteps[1], port, Vxlan(5001).encode(udp(b"forged")))
        noise = random.Random(3)
        for size in range(0, 1400, 20):
            datagram(underlay.hosts[1], underlay.vteps[1], port, b"\0" + noise.randbytes(size))
        assert eventually(lambda: mine.counters().drops.get("not VXLAN", 0) >= 70)
        drops = mine.counters().drops
        assert (drops["not a member"], drops["unknown VNI"], drops["not VXLAN"]) == (1, 1, 70)
        assert mine.observe().learned == before.learned
        assert reaches(underlay, B4)
    assert not any(b"forged" in frame for frame in seen)


def test_a_peer_that_takes_tiny_segments_only(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        b = f"{underlay.prefix}b"
        ip(b, "ip", "route", "replace", "10.1.1.0/24", "dev", "eth0", "src", B4, "advmss", "48")
        assert stream(f"{underlay.prefix}a", b, B4, DATA) == sha256(DATA)
        assert "offload header" not in mine.counters().drops


def test_damage_stays_damage_behind_who_passes_it_on(underlay: Underlay) -> None:
    """A container that forwards cuts big frames again, and makes their checksums anew."""
    with stage(underlay, LEARNING):
        a, c = f"{underlay.prefix}a", underlay.namespace("c")
        assert reaches(underlay, B4)
        beyond = "02:00:00:00:09:02"
        ip(a, "ip", "link", "add", "v0", "type", "veth", "peer", "v1", "address", beyond, "netns", c)
        ip(a, "ip", "address", "add", "10.9.0.1/24", "dev", "v0")
        ip(a, "ip", "link", "set", "v0", "up")
        ip(a, "ip", "neighbor", "add", "10.9.0.2", "lladdr", beyond, "dev", "v0")
        ip(a, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        ip(c, "ip", "link", "set", "v1", "up")
        set_offloads("v0", False, a)

        parts = [bytearray(part) for part in datagrams(_routed(bytes(range(250)) * 40, "10.9.0.2"), 1000)]
        parts[4][300] ^= 0x40
        with (
            captured(c, "v1") as frames,
            socket_in(underlay.hosts[1], socket.AF_INET, socket.SOCK_DGRAM) as out,
        ):
            out.bind((underlay.vteps[1], 0))
            train = [(17, 103, len(parts[0]).to_bytes(2, sys.byteorder))]  # UDP_SEGMENT
            out.sendmsg([b"".join(parts)], train, 0, (underlay.vteps[0], 4789))
            assert eventually(lambda: sum(dissect(frame).tcp is not None for frame in [*frames]) >= 10)
    arrived = [packet for packet in map(dissect, frames) if packet.tcp]
    assert [packet.tcp.seq for packet in arrived if packet.tcp and wrong_checksums(packet)] == [5000]
    assert len(arrived) == 10


def _routed(payload: bytes, dst: str) -> bytes:
    """A TCP frame of the second host to the first one's MAC and an address beyond it."""
    segment = Tcp(40000, 5001, 1000, 77, 0x10, 512).encode(payload, PseudoHeader(B4, dst))
    packet = IPv4(B4, dst, 6, identification=7, dont_fragment=True).encode(segment)
    return Ethernet(MACS[0], MACS[1], IPV4).encode(packet)


def test_udp_trains_that_the_kernel_has_not_cut_arrive_whole(underlay: Underlay) -> None:
    """No NIC lies between both hosts, so a frame of the kernel's VTEP stands for many datagrams until it arrives."""
    data = os.urandom(40_000)
    with stage(underlay, Overlay()) as (mine, _):
        assert reaches(underlay, B4)
        assert reaches(underlay, A6, source="b")
        for family, there, here, end, size in (
            (socket.AF_INET, "a", "b", A4, 1000),
            (socket.AF_INET6, "a", "b", A6, 1300),
            (socket.AF_INET, "b", "a", B4, 1000),
        ):
            with (
                socket_in(f"{underlay.prefix}{there}", family, socket.SOCK_DGRAM) as listener,
                socket_in(f"{underlay.prefix}{here}", family, socket.SOCK_DGRAM) as out,
            ):
                listener.settimeout(PATIENCE)
                listener.bind((end, 7000))
                out.setsockopt(17, 103, size)  # UDP_SEGMENT
                out.sendto(data, (end, 7000))
                got = [listener.recv(2000) for _ in range(-(-len(data) // size))]
                assert got == [data[at : at + size] for at in range(0, len(data), size)]
        assert mine.counters().drops.get("oversized", 0) == 0


def test_oversized_frames_are_dropped_and_counted(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, _):
        mine.inject(BLUE, udp(bytes(3000)), ToTunnels())
        assert mine.counters().drops["oversized"] == 1
        big = Vxlan(5000).encode(udp(bytes(3000), src=MACS[1], dst=MACS[0]))
        datagram(underlay.hosts[1], underlay.vteps[1], (underlay.vteps[0], 4789), big)
        assert eventually(lambda: mine.counters().drops["oversized"] == 2)


def test_hosts_as_end_points(underlay: Underlay) -> None:
    with stage(underlay, Overlay(kind=AttachKind.HOST)):
        for source, target in ((0, B4), (1, A4)):
            ip(underlay.hosts[source], "ping", "-c", "2", "-i", "0.05", "-W", "10", target)
        one, two = underlay.hosts
        assert stream(one, two, B4, DATA) == sha256(DATA)


def test_inject_to_ports(underlay: Underlay) -> None:
    with stage(underlay, Overlay()) as (mine, _), captured(f"{underlay.prefix}a", "eth0") as frames:
        mine.inject(BLUE, udp(b"for a"), ToPorts("a"))
        mine.inject(BLUE, udp(b"for all"), ToPorts())
        with pytest.raises(WeftError) as refused:
            mine.inject(BLUE, udp(b"for nobody"), ToPorts("nobody"))
        assert refused.value.kind is Kind.NOT_FOUND
        assert eventually(lambda: any(b"for all" in frame for frame in frames))
    assert sum(b"for a" in frame for frame in frames) == 2


def test_a_malformed_frame_of_a_port_hurts_nobody(underlay: Underlay) -> None:
    with stage(underlay, LEARNING):
        noise = random.Random(5)

        for _ in range(200):
            head = bytes.fromhex("ffffffffffff02000000000a") + noise.choice([b"\x08\0", b"\x86\xdd", b"\x08\x06"])
            raw(f"{underlay.prefix}a", "eth0", head + noise.randbytes(noise.randrange(4, 200)))
        assert reaches(underlay, B4)


def test_a_fragmented_datagram_crosses(underlay: Underlay) -> None:
    with stage(underlay, LEARNING, "uu"):
        a, b = f"{underlay.prefix}a", f"{underlay.prefix}b"
        data = os.urandom(1400 * 5)

        with socket_in(b, 2, 2) as listener, socket_in(a, 2, 2) as out:
            listener.settimeout(PATIENCE)
            listener.bind((B4, 7000))
            out.sendto(data, (B4, 7000))
            assert listener.recv(1 << 16) == data
