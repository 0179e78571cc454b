"""What local ports say reaches the agent over the forwarder; what it asks them is answered to it alone."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.l2.l2_world import BLUE, IPS, MACS, PATIENCE, Overlay, Underlay, bring, ip, reaches
from tests.l2.test_kernel_punt import STRANGER, request, say
from tests.l2.user.stage import captured, eventually, stage
from weft.agent.sighting import Probe, Sighting, question, sighting
from weft.l2.datapath import Heard, Punted, ToPorts
from weft.l2.user.datapath import UserDatapath
from weft.model.network import Arp
from weft.model.port import Attach, AttachKind
from weft.plan.node import NodePlan
from weft.plan.port import LocalPort
from weft.wire.ethernet import Ethernet
from weft.wire.packet import dissect

pytestmark = pytest.mark.system
FRESH = Heard(BLUE, STRANGER, "a")
REMEMBERED = Heard(BLUE, STRANGER, "a", fresh=False)
GONE = Heard(BLUE, STRANGER, "a", gone=True)


@pytest.fixture
def path(underlay: Underlay) -> Iterator[UserDatapath]:
    """Host 1's datapath, listening."""
    with stage(underlay, Overlay(arp=Arp.FLOOD)) as (mine, _):
        assert isinstance(mine, UserDatapath)
        assert reaches(underlay, IPS[1][0].split("/")[0], tries=5)
        mine.watch([BLUE])
        yield mine


def until(path: UserDatapath, wanted: Callable[[Punted | Heard], bool]) -> list[Punted | Heard]:
    """All that is punted until what is wanted comes; fails where it does not come."""
    found: list[Punted | Heard] = []
    while not any(map(wanted, found)):
        assert select.select([path.punt_fd()], [], [], PATIENCE)[0], f"only this came: {found}"
        found += path.punt()
    return found


def test_a_strangers_request_is_heard_and_punted_with_its_port(underlay: Underlay, path: UserDatapath) -> None:
    say(underlay, request(STRANGER))
    wanted = Sighting(BLUE, STRANGER, "a", "10.1.1.50")
    found = until(path, lambda each: isinstance(each, Punted) and sighting(each) == wanted)
    assert FRESH in found


def test_a_frame_that_is_no_arp_is_heard_by_its_mac_alone(underlay: Underlay, path: UserDatapath) -> None:
    say(underlay, Ethernet(MACS[1], STRANGER, 0x88B5).encode(bytes(46)))
    found = until(path, lambda each: each == FRESH)
    assert not [each for each in found if isinstance(each, Punted) and STRANGER in str(sighting(each))]


def test_a_mac_that_was_remote_shows_up(underlay: Underlay, path: UserDatapath) -> None:
    say(underlay, request(MACS[1]), times=50)
    moved = Heard(BLUE, MACS[1], "a")
    assert until(path, lambda each: each == moved).count(moved) == 1, "and not with every frame"


def test_who_was_there_before_is_heard_at_once_and_at_every_look(underlay: Underlay, path: UserDatapath) -> None:
    say(underlay, request(STRANGER))
    assert FRESH in until(path, lambda each: each == FRESH)
    path.watch([BLUE])
    assert REMEMBERED in until(path, lambda each: each == REMEMBERED)
    path.observe()
    assert REMEMBERED in until(path, lambda each: each == REMEMBERED)


def test_who_lost_the_port_is_gone(underlay: Underlay, path: UserDatapath) -> None:
    say(underlay, request(STRANGER))
    until(path, lambda each: each == FRESH)
    bring(path, NodePlan("h1"))  # type: ignore[arg-type]
    assert GONE in until(path, lambda each: each == GONE)


def test_who_was_at_a_port_that_was_down_is_gone(underlay: Underlay, path: UserDatapath) -> None:
    say(underlay, request(STRANGER))
    until(path, lambda each: each == FRESH)
    ip(f"{underlay.prefix}a", "ip", "link", "set", "eth0", "down")
    bring(path, Overlay(arp=Arp.FLOOD).plan(underlay, 0))  # type: ignore[arg-type]
    assert GONE in until(path, lambda each: each == GONE)
    say(underlay, request(STRANGER))
    assert FRESH in until(path, lambda each: each == FRESH)


def test_a_new_forwarder_is_listened_to_as_well(underlay: Underlay, path: UserDatapath) -> None:
    pid = path.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: path.pid != pid)
    bring(path, Overlay(arp=Arp.FLOOD).plan(underlay, 0))  # type: ignore[arg-type]
    say(underlay, request(STRANGER))
    until(path, lambda each: each == FRESH)


def test_a_storm_is_bounded_and_counted(underlay: Underlay, path: UserDatapath) -> None:
    def dropped() -> int:
        say(underlay, request(STRANGER), times=5_000)
        return path.counters().drops.get("punt", 0)

    assert eventually(dropped)
    found = until(path, lambda each: isinstance(each, Punted))
    assert sum(len(each.frame) for each in found if isinstance(each, Punted)) <= 1 << 20


@pytest.mark.parametrize("address", ["10.1.1.11", "fd01::11"])
def test_who_is_asked_answers_to_this_node_alone(underlay: Underlay, path: UserDatapath, address: str) -> None:
    speaker = path.speaker(BLUE)
    with captured(underlay.hosts[0], "eth1") as frames:
        path.inject(BLUE, question(Probe(BLUE, "a", MACS[0], address), speaker), ToPorts("a"))
        wanted = Sighting(BLUE, MACS[0], "a", address)
        until(path, lambda each: isinstance(each, Punted) and sighting(each) == wanted)
    inner = [packet.inner.ethernet for packet in map(dissect, frames) if packet.inner]
    assert [header for header in inner if header and speaker in (header.dst, header.src)] == []


def test_routers_and_the_host_itself_are_no_hosts(underlay: Underlay, path: UserDatapath) -> None:
    inside, wanted = underlay.namespace("r"), Overlay(arp=Arp.FLOOD).plan(underlay, 0)
    attach = Attach(kind=AttachKind.NAMESPACE, target="r")
    port = LocalPort("router/blue", BLUE, attach, "02:00:00:00:00:0d", ("10.1.1.1/24",), 1430)
    bring(path, NodePlan(wanted.node, wanted.segments, wanted.tables, wanted.ports | {port.name: port}))  # type: ignore[arg-type]
    assert reaches(underlay, "10.1.1.12", source=inside.removeprefix(underlay.prefix))
    say(underlay, request(STRANGER))
    found = until(path, lambda each: each == FRESH)
    assert {each.port for each in found} == {"a"}
