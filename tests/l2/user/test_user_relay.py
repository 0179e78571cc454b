"""ARP of a relayed segment on a running forwarder: what comes from where, who does not get it, and where it is put."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.l2.l2_world import BLUE, MACS, PATIENCE, Overlay, Underlay, bring
from tests.l2.user.stage import captured, eventually, raw, stage
from weft.l2.datapath import Heard, Punted, ToPorts, ToTunnels
from weft.l2.user.datapath import UserDatapath
from weft.model.network import Arp
from weft.model.port import Attach, AttachKind
from weft.plan.node import NodePlan
from weft.plan.port import LocalPort
from weft.wire import arp
from weft.wire.address import BROADCAST
from weft.wire.ethernet import ARP, Ethernet
from weft.wire.packet import dissect

pytestmark = pytest.mark.system
IRB = "02:00:00:00:00:0d"
FAR, FAR_IP = "02:00:00:00:00:0e", "10.1.1.60"
ASKED = "10.1.1.77"


def request(mac: str, sender: str, target: str = ASKED) -> bytes:
    return Ethernet(BROADCAST, mac, ARP).encode(arp.request(mac, sender, target).encode())


QUESTION = request(FAR, FAR_IP)


@pytest.fixture
def path(underlay: Underlay) -> Iterator[UserDatapath]:
    """Host 1's datapath: `a` is a host's port, `r/blue` a router's; the segment is relayed. Host 2 floods ARP."""
    underlay.namespace("r")
    with stage(underlay, Overlay(arp=Arp.FLOOD, learning=True), "uk") as (mine, _):
        assert isinstance(mine, UserDatapath)
        plan = Overlay(arp=Arp.PROXY, learning=True).plan(underlay, 0)
        attach = Attach(kind=AttachKind.NAMESPACE, target="r")
        router = LocalPort("r/blue", BLUE, attach, IRB, ("10.1.1.1/24",), 1430)
        ports = {"a": replace(plan.ports["a"], isolated=True), router.name: router}
        bring(mine, NodePlan("h1", plan.segments, plan.tables, ports))  # type: ignore[arg-type]
        yield mine


def until(path: UserDatapath, wanted: Callable[[list[Punted | Heard]], bool]) -> list[Punted | Heard]:
    """All that is punted until what is wanted has come; fails where it does not come."""
    found: list[Punted | Heard] = []
    while not wanted(found):
        assert select.select([path.punt_fd()], [], [], PATIENCE)[0], f"only this came: {found}"
        found += path.punt()
    return found


def inners(frames: list[bytes], target: str = ASKED) -> list[str]:
    """Sender MAC of the ARP about an address that crossed the underlay."""
    packets = [packet.inner for packet in map(dissect, frames) if packet.inner and packet.inner.arp]
    return [packet.arp.sender_mac for packet in packets if packet.arp and packet.arp.target_ip == target]


def test_where_a_question_came_from(underlay: Underlay, path: UserDatapath) -> None:
    path.watch([BLUE])
    host, router = request(MACS[0], "10.1.1.11"), request(IRB, "10.1.1.1")
    for name, frame in (("a", host), ("r", router), ("b", QUESTION)):
        raw(f"{underlay.prefix}{name}", "eth0", frame)
    wanted = {
        Punted(BLUE, host, port="a"),
        Punted(BLUE, router, port="r/blue"),
        Punted(BLUE, QUESTION, vtep=underlay.vteps[1]),
    }
    found = until(path, lambda found: wanted <= set(found))
    assert not [each for each in found if isinstance(each, Heard)]


def test_without_an_agent_arp_stays_where_it_is_and_data_goes_on(underlay: Underlay, path: UserDatapath) -> None:
    inside = [f"{underlay.prefix}{name}" for name in "ar"]

    def lost() -> bool:
        raw(f"{underlay.prefix}b", "eth0", QUESTION)
        return path.counters().drops.get("punt", 0) > 0

    with captured(inside[0], "eth0") as host, captured(inside[1], "eth0") as router:
        with captured(underlay.hosts[0], "eth1") as wire:
            assert eventually(lost)
            raw(inside[0], "eth0", request(MACS[0], "10.1.1.11"))
            raw(inside[1], "eth0", request(IRB, "10.1.1.1"))
            raw(inside[1], "eth0", Ethernet(FAR, IRB, 0x88B5).encode(b"routed".ljust(46)))
            assert eventually(lambda: any(b"routed" in frame for frame in wire))
        raw(f"{underlay.prefix}b", "eth0", Ethernet(IRB, FAR, 0x88B5).encode(b"back".ljust(46)))
        assert eventually(lambda: any(b"back" in frame for frame in router))
    assert QUESTION not in [frame[: len(QUESTION)] for frame in (*host, *router)]
    assert set(inners(wire)) == {FAR}


def test_what_is_put_where(underlay: Underlay, path: UserDatapath) -> None:
    inside = [f"{underlay.prefix}{name}" for name in "arb"]
    asked = {name: request(IRB, "10.1.1.1", f"10.1.1.{70 + number}") for number, name in enumerate("arb")}

    def got(frames: list[bytes], name: str) -> bool:
        return asked[name] in [frame[: len(asked[name])] for frame in frames]

    with captured(inside[0], "eth0") as a, captured(inside[1], "eth0") as r, captured(inside[2], "eth0") as b:
        path.inject(BLUE, asked["a"], ToPorts())
        path.inject(BLUE, asked["r"], ToPorts("r/blue"))
        path.inject(BLUE, asked["b"], ToTunnels())
        assert eventually(lambda: got(a, "a") and got(r, "r") and got(b, "b"))
        path.inject(BLUE, asked["a"], ToTunnels(underlay.vteps[1]))
        assert eventually(lambda: got(b, "a"))
    assert not any(got(a, name) for name in "rb"), "what is for others"
    assert not any(got(r, name) for name in "ab")
    assert not got(b, "r")
