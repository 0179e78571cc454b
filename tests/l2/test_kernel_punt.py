"""What local hosts say reaches the punt, with the port it came from; nothing else does."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable

import pytest

from tests.l2.l2_world import BLUE, MACS, PATIENCE, Overlay, Underlay, ip, reaches
from weft.agent.sighting import Probe, Sighting, question, sighting
from weft.l2.datapath import Heard, Punted, ToPorts
from weft.l2.kernel.datapath import KernelDatapath
from weft.model.address import int_to_mac
from weft.model.network import Arp
from weft.netlink import neighbor as n
from weft.netlink.bulk import Bulk
from weft.netlink.namespace import socket_in
from weft.wire import arp
from weft.wire.ethernet import ARP, Ethernet
from weft.wire.packet import dissect

pytestmark = pytest.mark.system
STRANGER = "02:aa:00:00:00:01"


@pytest.fixture
def path(underlay: Underlay) -> KernelDatapath:
    """Host 1's datapath, listening; its port forwards, which takes the kernel a moment."""
    path, _ = Overlay().up(underlay)
    assert reaches(underlay, "10.1.1.12", tries=5)
    path.watch([BLUE])
    path.punt()
    return path


def until(path: KernelDatapath, wanted: Callable[[Punted | Heard], bool]) -> list[Punted | Heard]:
    """All that is punted until what is wanted comes; fails where it does not come."""
    found: list[Punted | Heard] = []
    fd = path.punt_fd()
    assert fd is not None
    while not any(map(wanted, found)):
        assert select.select([fd], [], [], PATIENCE)[0], f"only this came: {found}"
        found += path.punt()
    return found


def say(underlay: Underlay, frame: bytes, times: int = 1) -> None:
    """Frames out of namespace `a`, whatever its device's MAC."""
    with socket_in(f"{underlay.prefix}a", socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("eth0", 0))
        for _ in range(times):
            out.send(frame)


def request(mac: str, sender: str = "10.1.1.50") -> bytes:
    return Ethernet("ff:ff:ff:ff:ff:ff", mac, ARP).encode(arp.request(mac, sender, "10.1.1.99").encode())


def fdb(underlay: Underlay, mac: str) -> list[tuple[int, int]]:
    """(ifindex, state) of a bridge's rows of a MAC on host 1."""
    bulk = Bulk(underlay.hosts[0])
    rows = [row for row in bulk.dump_fdb() if int_to_mac(int(row["mac"])) == mac and not row["flags"] & n.NTF_SELF]
    bulk.close()
    return [(int(row["ifindex"]), int(row["state"])) for row in rows]


def known(underlay: Underlay, mac: str) -> None:
    """Waits until the bridge has learned a MAC."""
    deadline = time.monotonic() + PATIENCE
    while not fdb(underlay, mac):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_strangers_request_is_heard_and_punted_with_its_port(underlay: Underlay, path: KernelDatapath) -> None:
    say(underlay, request(STRANGER))
    found = until(path, lambda each: isinstance(each, Punted))
    assert Heard(BLUE, STRANGER, "a") in found
    assert [sighting(each) for each in found if isinstance(each, Punted)] == [
        Sighting(BLUE, STRANGER, "a", "10.1.1.50")
    ]


def test_a_frame_that_is_no_arp_is_heard_by_its_mac_alone(underlay: Underlay, path: KernelDatapath) -> None:
    say(underlay, Ethernet(MACS[1], STRANGER, 0x88B5).encode(bytes(46)))
    found = until(path, lambda each: isinstance(each, Heard) and each.mac == STRANGER)
    assert not [each for each in found if isinstance(each, Punted)]


def test_neighbor_solicitations_and_advertisements_are_punted(underlay: Underlay, path: KernelDatapath) -> None:
    assert not reaches(underlay, "fd01::99", tries=1)
    found = until(path, lambda each: isinstance(each, Punted))
    assert Sighting(BLUE, MACS[0], "a", "fd01::11") in [sighting(each) for each in found]


def test_tunnels_and_unwatched_segments_are_silent(underlay: Underlay) -> None:
    one, other = Overlay(arp=Arp.FLOOD).up(underlay)
    other.watch([BLUE])
    other.punt()
    assert reaches(underlay, "10.1.1.12")
    found = until(other, lambda each: isinstance(each, Punted))
    assert {each.port for each in found} == {"b"}, "what came through the tunnel is nobody's here"
    assert one.punt() == []


def test_a_mac_that_was_remote_shows_up_and_its_row_ages_again(underlay: Underlay, path: KernelDatapath) -> None:
    ((tunnel, state),) = fdb(underlay, MACS[1])
    assert state & n.NUD_NOARP
    say(underlay, request(MACS[1]))
    until(path, lambda each: each == Heard(BLUE, MACS[1], "a"))
    ((port, state),) = fdb(underlay, MACS[1])
    assert port != tunnel
    assert not state & n.NUD_NOARP


def test_who_was_there_before_is_heard_at_once_and_at_every_look(underlay: Underlay, path: KernelDatapath) -> None:
    path.watch([])
    say(underlay, request(STRANGER))
    known(underlay, STRANGER)
    path.watch([BLUE])
    assert Heard(BLUE, STRANGER, "a", fresh=False) in path.punt()
    assert Heard(BLUE, STRANGER, "a", fresh=False) not in path.punt()
    path.observe()
    assert Heard(BLUE, STRANGER, "a", fresh=False) in path.punt()


def test_who_lost_the_carrier_is_gone(underlay: Underlay, path: KernelDatapath) -> None:
    say(underlay, request(STRANGER))
    until(path, lambda each: each == Heard(BLUE, STRANGER, "a"))
    ip(f"{underlay.prefix}a", "ip", "link", "set", "eth0", "down")
    gone = Heard(BLUE, STRANGER, "a", gone=True)
    assert until(path, lambda each: each == gone).count(gone) == 1


def test_a_storm_is_bounded_and_counted(underlay: Underlay, path: KernelDatapath) -> None:
    say(underlay, request(STRANGER), times=20_000)
    rounds = [path.punt() for _ in range(200)]
    assert max(map(len, rounds)) <= 1024
    assert 0 < sum(map(len, rounds)) < 20_000
    assert path.counters().drops["punt"] > 0


@pytest.mark.parametrize("address", ["10.1.1.11", "fd01::11"])
def test_who_is_asked_answers_to_this_node_alone(underlay: Underlay, path: KernelDatapath, address: str) -> None:
    with socket_in(underlay.hosts[0], socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tunnel:
        tunnel.bind(("wx5000", 3))
        path.inject(BLUE, question(Probe(BLUE, "a", MACS[0], address), path.speaker(BLUE)), ToPorts("a"))
        found = until(path, lambda each: isinstance(each, Punted))
        assert Sighting(BLUE, MACS[0], "a", address) in [sighting(each) for each in found]
        tunnel.setblocking(False)
        left = []
        with contextlib.suppress(BlockingIOError):
            while True:
                left.append(dissect(tunnel.recv(2048)))
        assert [packet for packet in left if packet.arp or packet.nd] == [], "the answer went no further"


def test_nobody_listens_after_the_last_segment(underlay: Underlay, path: KernelDatapath) -> None:
    path.watch([])
    say(underlay, request(STRANGER))
    known(underlay, STRANGER)
    assert path.punt() == []
    path.watch([BLUE])
    assert Heard(BLUE, STRANGER, "a", fresh=False) in path.punt()
