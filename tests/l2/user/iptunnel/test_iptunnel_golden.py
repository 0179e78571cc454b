"""What flannel's own daemon put on the wire and on its device, against ours, octet by octet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.l2.user.iptunnel.fakes import plain, tunnel
from tests.wire.test_wire_captures import named
from tests.wire.wire_frames import frames_of
from weft.l2.user import vnet
from weft.l2.user.iptunnel.egress import TunnelEgress
from weft.l2.user.iptunnel.ingress import TunnelIngress
from weft.l2.user.receiver import Arrival
from weft.wire.ipv4 import IPv4
from weft.wire.packet import dissect

FRAMES = frames_of(named("flannel-udp"))
OWN = {"172.31.99.11": ("10.6.84.0", "10.6.84.0/24"), "172.31.99.12": ("10.6.20.0", "10.6.20.0/24")}

# Captured on flannel's own device: what went into flannel0, and what came out of it.
ASKED = "4500001fb0b04000401128080a0654000a06fa09dc76270f000b27d368690a"
TOLD = (
    "4500003800000000" + "0801f6b90a0654000a065400" + "0300d19b00000000"
    "4500001fb0b04000401128080a0654000a06fa09" + "dc76270f000b27d3"
)


def older(packet: bytes) -> bytes:
    """The packet as it was one hop before."""
    header, payload = IPv4.decode(packet)
    return replace(header, ttl=header.ttl + 1).encode(payload)


@pytest.mark.parametrize("frame", FRAMES)
def test_out_of_the_device_comes_what_flannel_sent(frame: bytes) -> None:
    outer = dissect(frame)
    assert outer.ip
    assert outer.udp
    assert (outer.udp.src_port, outer.udp.dst_port) == (8285, 8285)
    peer = outer.ip.dst
    state, device, underlay = tunnel(OWN[outer.ip.src][0], [(OWN[peer][1], peer)])
    device.put.append(plain(older(outer.payload)))
    TunnelEgress().drain(state, 0.0)
    assert underlay.sent == [(peer, outer.payload)]


@pytest.mark.parametrize("frame", FRAMES)
def test_what_flannel_sent_reaches_the_device(frame: bytes) -> None:
    outer = dissect(frame)
    assert outer.ip
    peer = outer.ip.src
    state, device, _ = tunnel(OWN[outer.ip.dst][0], [(OWN[peer][1], peer)])
    ingress = TunnelIngress()
    ingress._buffer[: len(outer.payload)] = outer.payload
    ingress.take(state, Arrival(len(outer.payload), len(outer.payload), peer, 0), 0.0)
    (got,) = device.taken
    assert got[: vnet.SIZE] == vnet.PLAIN
    assert older(got[vnet.SIZE :]) == outer.payload


def test_an_unknown_destination_gets_flannels_answer() -> None:
    state, device, underlay = tunnel("10.6.84.0", [("10.6.20.0/24", "172.31.99.12")])
    device.put.append(plain(bytes.fromhex(ASKED)))
    egress = TunnelEgress()
    egress.drain(state, 0.0)
    assert device.taken == [plain(bytes.fromhex(TOLD))]
    assert underlay.sent == []
    assert egress.tally.drops == {"no route": 1}
