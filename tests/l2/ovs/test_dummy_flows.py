"""Octets through our flow tables, without root: conversations that another Open vSwitch had, held again by ours."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from tests.l2.ovs.conftest import eventually
from tests.l2.ovs.dummy import PEERS, VTEP, DummySwitch
from tests.wire.wire_frames import CAPTURES, frames_of
from weft.l2.datapath import Punted
from weft.l2.ovs import tables
from weft.l2.ovs.flows import Held, Ports
from weft.l2.ovs.tunnel_punt import TunnelPunt
from weft.model.network import Arp, SegmentKey
from weft.plan import tables as t
from weft.plan.segment import Segment
from weft.plan.tables import Tables
from weft.wire import arp, nd
from weft.wire.address import multicast_mac
from weft.wire.arp import Arp as ArpPacket
from weft.wire.checksum import PseudoHeader
from weft.wire.ethernet import ARP, IPV6, Ethernet
from weft.wire.ipv4 import IPv4
from weft.wire.ipv6 import IPv6
from weft.wire.packet import Packet, dissect
from weft.wire.udp import Udp
from weft.wire.verify import wrong_checksums
from weft.wire.vxlan import Vxlan

pytestmark = pytest.mark.system
A, B, C, NOBODY = (f"02:00:00:00:00:0{letter}" for letter in "abcf")


def held(vni: int, tag: int, behaviour: Arp, learning: bool = False) -> Held:
    rows = Tables(flood=t.flood(PEERS))
    if not learning:
        known = [("10.0.0.1", A), ("10.0.0.2", B), ("fd00::2", B)] if behaviour is Arp.SUPPRESS else []
        rows = Tables(t.fdb([(B, PEERS[0]), (C, PEERS[1])]), t.neighbors(known), t.flood(PEERS))
    return Held(
        Segment(SegmentKey(4789, vni), f"n{vni}", VTEP, 1450, learning, 300, behaviour), tag, rows, frozenset({A})
    )


@pytest.fixture
def learning(tmp_path: Path) -> Iterator[DummySwitch]:
    switch = DummySwitch(tmp_path / "ovs", [held(5001, 1, Arp.FLOOD, True), held(5002, 2, Arp.FLOOD, True)])
    yield switch
    switch.close()


@pytest.fixture
def programmed(tmp_path: Path) -> Iterator[DummySwitch]:
    switch = DummySwitch(tmp_path / "ovs", [held(5001, 1, Arp.SUPPRESS), held(5002, 2, Arp.PROXY)])
    yield switch
    switch.close()


@pytest.fixture
def relayed(tmp_path: Path) -> Iterator[DummySwitch]:
    switch = DummySwitch(tmp_path / "ovs", [held(5001, 1, Arp.PROXY, True)])
    yield switch
    switch.close()


@pytest.mark.parametrize("name", ["ovs-single-vni", "ovs-multi-vni"])
def test_a_captured_conversation_is_held_again(learning: DummySwitch, name: str) -> None:
    """What came to the first VTEP comes to ours and reaches its VM; what its VMs sent then leaves ours the same way."""
    (path,) = [path for path in CAPTURES if path.stem == name]
    packets = [packet for frame in frames_of(path) if (packet := dissect(frame)).vxlan]
    if name == "ovs-multi-vni":  # the third one lost its other copy to the beginning of the capture
        del packets[2]
    heard = sent = 0
    for (mine, inner), copies in groupby(packets, key=lambda each: (outer(each).src == VTEP, each.payload)):
        seen = list(copies)
        device = f"vm{seen[0].vxlan.vni}"  # type: ignore[union-attr]
        if mine:
            learning.put_in(device, inner)
            found = learning.came_out("wire", len(seen))
            assert [summary(each) for each in found] == [summary(each) for each in seen]
            assert [wrong_checksums(each) for each in found] == [()] * len(seen)
            sent += len(seen)
        elif to_us := [each for each in seen if outer(each).dst == VTEP]:
            learning.arrive(to_us[0].encode())
            assert [each.encode() for each in learning.came_out(device, 1)] == [inner]
            heard += 1
    assert (heard, sent) == {"ovs-single-vni": (11, 14), "ovs-multi-vni": (30, 32)}[name]
    learning.silent("wire", "vm5001", "vm5002")


def outer(packet: Packet) -> IPv4:
    assert isinstance(packet.ip, IPv4)
    return packet.ip


def summary(packet: Packet) -> tuple[object, ...]:
    ip, udp = outer(packet), packet.udp
    assert udp
    return ip.src, ip.dst, ip.ttl, udp.dst_port, packet.vxlan, packet.payload


def request(target: str, source: str = A, sender: str = "10.0.0.1") -> bytes:
    return Ethernet("ff:ff:ff:ff:ff:ff", source, ARP).encode(
        ArpPacket(arp.REQUEST, source, sender, "00:00:00:00:00:00", target).encode()
    )


def plain(target: str, source: str = A) -> bytes:
    return Ethernet(target, source, 0x88B5).encode(b"x" * 46)


def tunnelled(vni: int, inner: bytes) -> bytes:
    pseudo = PseudoHeader(PEERS[0], VTEP)
    datagram = Udp(50000, 4789).encode(Vxlan(vni).encode(inner), pseudo)
    return Ethernet(B, C, 0x0800).encode(IPv4(PEERS[0], VTEP, 17, ttl=64).encode(datagram))


def test_a_suppressed_segment_answers_and_floods_nothing_unknown(programmed: DummySwitch) -> None:
    programmed.put_in("vm5001", request("10.0.0.2"))
    (answer,) = programmed.came_out("vm5001", 1)
    assert answer.arp == ArpPacket(arp.REPLY, B, "10.0.0.2", A, "10.0.0.1")
    assert answer.ethernet == Ethernet(A, B, ARP)
    programmed.put_in("vm5001", solicitation("fd00::2"))
    (answer,) = programmed.came_out("vm5001", 1)
    assert isinstance(answer.nd, nd.NeighborAdvertisement)
    assert (answer.nd.target, answer.nd.target_link, answer.nd.solicited) == ("fd00::2", B, True)
    assert wrong_checksums(answer) == ()
    for unknown in (request("10.0.0.99"), solicitation("fd00::99"), plain(NOBODY)):
        programmed.put_in("vm5001", unknown)
    programmed.put_in("vm5001", plain(B))
    (known,) = programmed.came_out("wire", 1)
    assert (known.ip and known.ip.dst, known.vxlan, known.payload) == (PEERS[0], Vxlan(5001), plain(B))
    programmed.put_in("vm5001", plain("ff:ff:ff:ff:ff:ff"))
    assert [each.ip and each.ip.dst for each in programmed.came_out("wire", 2)] == list(PEERS)
    programmed.silent("wire", "vm5001", "vm5002")


def solicitation(target: str) -> bytes:
    source, group = "fd00::1", nd.solicited_node(target)
    asked = nd.NeighborSolicitation(target=target, options=(nd.link_option(nd.SOURCE_LINK, A),))
    message = asked.encode(PseudoHeader(source, group))
    return Ethernet(multicast_mac(group), A, IPV6).encode(IPv6(source, group, 58, 255).encode(message))


def test_what_tunnels_bring_goes_to_local_ports_alone(programmed: DummySwitch) -> None:
    """Split horizon; an unknown VNI, and a forged local source, go nowhere."""
    for frame in (tunnelled(7, plain(A, B)), tunnelled(5001, plain("ff:ff:ff:ff:ff:ff", A))):
        programmed.arrive(frame)
    programmed.arrive(tunnelled(5001, plain("ff:ff:ff:ff:ff:ff", B)))
    assert [each.encode() for each in programmed.came_out("vm5001", 1)] == [plain("ff:ff:ff:ff:ff:ff", B)]
    programmed.silent("wire", "vm5001", "vm5002")


def test_in_proxy_mode_no_arp_and_nothing_unknown_enters_a_tunnel(programmed: DummySwitch) -> None:
    for frame in (request("10.0.0.2"), solicitation("fd00::2"), plain(NOBODY)):
        programmed.put_in("vm5002", frame)
    programmed.put_in("vm5002", plain(C))
    (known,) = programmed.came_out("wire", 1)
    assert (known.ip and known.ip.dst, known.vxlan) == (PEERS[1], Vxlan(5002))
    programmed.silent("wire", "vm5001", "vm5002")


def test_arp_of_a_relayed_segment_reaches_who_punts_it_and_nobody_else(relayed: DummySwitch) -> None:
    """With the segment and the VTEP it came from; its source is learned, and what is not ARP passes."""
    punt = TunnelPunt(relayed.place)
    assert punt.connect() is not None
    asked = request("10.0.0.1", B, "10.0.0.2")
    relayed.arrive(tunnelled(5001, asked))
    found: list[Punted] = []
    assert eventually(lambda: found.extend(punt.read()) or found)
    assert found == [Punted(SegmentKey(4789, 5001), asked, vtep=PEERS[0])]
    relayed.arrive(tunnelled(5001, plain(A, B)))
    assert [each.encode() for each in relayed.came_out("vm5001", 1)] == [plain(A, B)]
    relayed.put_in("vm5001", request("10.0.0.2"))
    relayed.put_in("vm5001", plain(B))
    (sent,) = relayed.came_out("wire", 1)
    assert (sent.ip and sent.ip.dst, sent.payload) == (PEERS[0], plain(B))
    relayed.put_in("vm5001", plain(NOBODY))
    assert len(relayed.came_out("wire", 2)) == 2, "unknown unicast is flooded: a restart forgets what was learned"
    relayed.silent("wire", "vm5001")
    punt.close()


def test_what_br_tun_is_given_is_what_it_shows(relayed: DummySwitch) -> None:
    ports = Ports(1, {(4789, peer): number for number, peer in enumerate(PEERS, 2)})
    assert tables.own(relayed.flows.dump(), "default") == tables.wanted(relayed.held, ports, "default")
