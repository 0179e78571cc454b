"""Two hosts over a real underlay: end points reach each other, and what must stay home stays home."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.l2.l2_world import BLUE, MACS, PATIENCE, Overlay, Underlay, bring, reaches
from weft.l2.datapath import ToPorts, ToTunnels
from weft.model.errors import WeftError
from weft.model.network import Arp, SegmentKey
from weft.model.port import AttachKind
from weft.netlink.namespace import socket_in

pytestmark = pytest.mark.system

OVERLAYS = {
    "suppress": Overlay(),
    "suppress on IPv6": Overlay(six=True),
    "flood": Overlay(arp=Arp.FLOOD),
    "data plane": Overlay(learning=True, arp=Arp.FLOOD),
    "group": Overlay(learning=True, arp=Arp.FLOOD, group="239.1.1.1"),
    "group on IPv6": Overlay(learning=True, arp=Arp.FLOOD, group="ff05::101", six=True),
    "flannel's UDP port": Overlay(key=SegmentKey(8472, 7)),
}


MARK = b"\xff" * 6 + b"\x02\0\0\0\x33\x12" + b"\x88\xb9" + bytes(46)


@contextmanager
def heard(world: Underlay) -> Iterator[list[bytes]]:
    """Inner frames of every VXLAN packet that reaches the second host while the block runs (and 0.2 s more, and until
    a frame has come that was sent then)."""
    frames: list[bytes] = []
    with socket_in(world.hosts[1], socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.bind(("eth1", 3))
        yield frames
        time.sleep(0.2)
        with socket_in(world.hosts[0], socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind(("eth1", 0))
            out.send(MARK)
        wire.settimeout(PATIENCE)
        while (frame := wire.recv(65535)) != MARK:
            ip = 14 + (20 if frame[12:14] == b"\x08\x00" else 40)
            protocol = frame[23] if frame[12:14] == b"\x08\x00" else frame[20]
            if protocol == socket.IPPROTO_UDP and struct.unpack_from("!H", frame, ip + 2)[0] in (4789, 8472):
                frames.append(frame[ip + 16 :])


def ethertypes(frames: list[bytes]) -> set[int]:
    return {struct.unpack_from("!H", frame, 12)[0] for frame in frames}


def is_nd(frame: bytes) -> bool:
    return frame[12:14] == b"\x86\xdd" and frame[20] == 58 and 133 <= frame[54] <= 137


GOLDEN = """\
+ segment 5000 (blue): vtep 192.168.33.12 mtu 1430 static arp suppress
+ port a: segment 5000 namespace a mac 02:00:00:00:00:0a 10.1.1.11/24 fd01::11/64
+ flood 5000: 192.168.33.13
+ fdb 5000: 02:00:00:00:00:0b → 192.168.33.13
+ neighbors 5000: 10.1.1.11 → 02:00:00:00:00:0a
+ neighbors 5000: 10.1.1.12 → 02:00:00:00:00:0b
+ neighbors 5000: fd01::11 → 02:00:00:00:00:0a
+ neighbors 5000: fd01::12 → 02:00:00:00:00:0b"""


def test_from_nothing_in_these_steps_and_then_none(underlay: Underlay) -> None:
    first, overlay = underlay.datapath(0), Overlay()
    underlay.namespace("a")
    assert "\n".join(bring(first, overlay.plan(underlay, 0))) == GOLDEN
    assert bring(first, overlay.plan(underlay, 0)) == []


@pytest.mark.parametrize("overlay", OVERLAYS.values(), ids=OVERLAYS.keys())
def test_end_points_reach_each_other(underlay: Underlay, overlay: Overlay) -> None:
    first, second = overlay.up(underlay)
    assert reaches(underlay, "10.1.1.12")
    assert reaches(underlay, "fd01::12")
    learned = {path: path.observe().learned for path in (first, second)}
    assert all((overlay.key in found) == overlay.learning for found in learned.values())
    for host, path in enumerate((first, second)):
        assert path.apply(()).ok
        seen = path.observe()
        assert seen.segments == overlay.plan(underlay, host).segments
        assert seen.flaws == {}


def test_the_hosts_themselves_can_be_the_end_points(underlay: Underlay) -> None:
    overlay = Overlay(learning=True, arp=Arp.FLOOD, group="239.1.1.1", kind=AttachKind.HOST)
    overlay.up(underlay)
    assert reaches(underlay, "10.1.1.12", source="h1")


def test_suppression_keeps_arp_nd_and_unknown_unicast_home(underlay: Underlay) -> None:
    first, _ = Overlay().up(underlay)
    with heard(underlay) as frames:
        assert reaches(underlay, "10.1.1.12")
        assert reaches(underlay, "fd01::12")
        assert not reaches(underlay, "10.1.1.99", tries=1)
        assert not reaches(underlay, "fd01::99", tries=1)
        with socket_in(f"{underlay.prefix}a", socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind(("eth0", 0))
            source = bytes.fromhex(MACS[0].replace(":", ""))
            out.send(bytes.fromhex("0200000000ff") + source + b"\x88\xb5" + bytes(46))  # unknown unicast
            out.send(b"\xff" * 6 + source + b"\x88\xb6" + bytes(46))  # broadcast that is not ARP
            out.send(b"\xff" * 6 + source + b"\x08\x06" + bytes(28))  # an ARP of nonsense
    assert frames
    assert not ethertypes(frames) & {0x0806, 0x88B5}
    assert 0x88B6 in ethertypes(frames)
    assert not any(is_nd(frame) for frame in frames)
    drops = first.counters().drops
    assert drops["suppressed arp"] > 0
    assert drops["suppressed nd"] > 0


def test_flooded_arp_crosses(underlay: Underlay) -> None:
    Overlay(arp=Arp.FLOOD).up(underlay)
    with heard(underlay) as frames:
        assert reaches(underlay, "10.1.1.12")
    assert 0x0806 in ethertypes(frames)


def test_injected_frames_go_where_they_are_told(underlay: Underlay) -> None:
    first, _ = Overlay().up(underlay)
    frame = b"\xff" * 6 + b"\x02\0\0\0\0\x77" + b"\x88\xb7" + b"injected".ljust(46)
    with heard(underlay) as frames, socket_in(f"{underlay.prefix}a", socket.AF_PACKET, socket.SOCK_RAW, 0) as port:
        port.bind(("eth0", 0x88B7))
        port.settimeout(PATIENCE)
        first.inject(BLUE, frame, ToTunnels())
        first.inject(BLUE, frame, ToPorts("a"))
        assert port.recv(2000) == frame
    assert frames.count(frame) == 1
    with pytest.raises(WeftError, match="one VTEP"):
        first.inject(BLUE, frame, ToTunnels("192.168.33.13"))
    with pytest.raises(WeftError, match="port z"):
        first.inject(BLUE, frame, ToPorts("z"))


def test_counters_count(underlay: Underlay) -> None:
    first, _ = Overlay().up(underlay)
    assert reaches(underlay, "10.1.1.12", tries=5)
    counters = first.counters()
    assert counters.ports["a"][0] >= 5
    assert counters.segments[BLUE][2] >= 5
