"""One forwarder of two workers on a real kernel: what each carries, and what happens when one of them goes."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.frozen import freeze
from tests.l2.l2_world import BLUE, IPS, MACS, PATIENCE, Overlay, Underlay, bring, ip, reaches
from tests.l2.user.front.front_stage import NAMES, RED, alive, networks, plan, several, taps
from tests.l2.user.iptunnel import tunnel_stage
from tests.l2.user.iptunnel.tunnel_stage import tunnels
from tests.l2.user.stage import cast, datagram, eventually, heard, raw, sha256, stream
from weft.l2.datapath import Event, Heard, Punted, ToPorts
from weft.l2.user import control
from weft.l2.user.client import Client
from weft.l2.user.datapath import UserDatapath
from weft.l2.user.front.child import Child
from weft.l2.user.iptunnel.tunnels import IpTunnels
from weft.model.errors import WeftError
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach
from weft.netlink.namespace import socket_in
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import PutPort, PutSegment
from weft.plan.port import LocalPort
from weft.wire.address import BROADCAST
from weft.wire.arp import request
from weft.wire.ethernet import ARP, Ethernet
from weft.wire.vxlan import Vxlan

pytestmark = pytest.mark.system

A4, B4 = (ips[0].split("/")[0] for ips in IPS)
OPEN = Overlay(learning=True, arp=Arp.FLOOD)
GROUP = Overlay(learning=True, arp=Arp.FLOOD, group="239.9.9.9")


def pids(path: UserDatapath) -> tuple[int, ...]:
    return path.workers()[0]


@pytest.mark.parametrize(
    "overlay", [Overlay(), OPEN, GROUP, Overlay(six=True)], ids=["suppress", "learning", "group", "v6"]
)
def test_each_worker_carries_its_own_network(underlay: Underlay, overlay: Overlay) -> None:
    with networks(underlay, overlay) as (mine, _):
        front, workers = mine.pid, pids(mine)
        assert front is not None
        assert front not in workers
        assert [len(taps(pid)) for pid in workers] == [1, 1]
        data = os.urandom(2 << 20)
        for here, there in NAMES.values():
            assert reaches(underlay, B4, source=here)
            a, b = f"{underlay.prefix}{here}", f"{underlay.prefix}{there}"
            assert stream(a, b, B4, data) == sha256(data)
            assert stream(b, a, A4, data) == sha256(data)
            for sender, own, receiver, at in ((a, A4, b, B4), (b, B4, a, A4)):
                for target, group in (("10.1.1.255", None), ("239.1.2.3", "239.1.2.3")):
                    sent = f"{here} {target}".encode()
                    said = (sender, own, target, 7000, sent)
                    assert heard(receiver, 7000, group, at, lambda said=said: cast(*said)) == sent
        counters = mine.counters()
        assert counters.ports.keys() == {"a", "c"}
        assert counters.segments.keys() == {BLUE, RED}
        assert all(each > 1 << 20 for counts in counters.segments.values() for each in counts[1::2])  # octets
        assert counters.drops.get("not VXLAN", 0) == 0


class Numbered:
    """Datagrams with numbers, sent from b's side to a's, or back, and how many of them came."""

    def __init__(self, source: str, target: str, address: str) -> None:
        self.sent, self.came = 0, 0
        self._stop, self._all_sent = threading.Event(), threading.Event()
        self._out = socket_in(source, socket.AF_INET, socket.SOCK_DGRAM)
        self._in = socket_in(target, socket.AF_INET, socket.SOCK_DGRAM)
        self._in.bind((address, 7100))
        self._in.settimeout(3.0)
        self._out.connect((address, 7100))
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._send, self._take)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._stop.wait(0.002):
            try:
                self._out.send(struct.pack("!I", self.sent))
            except OSError:  # while its device is gone
                continue
            self.sent += 1

    def _take(self) -> None:
        while not self._all_sent.is_set() or self.came < self.sent:
            try:
                self._in.recv(100)
            except TimeoutError:
                if self._all_sent.is_set():
                    return
            else:
                self.came += 1

    def end(self) -> None:
        for event, thread in zip((self._stop, self._all_sent), self._threads, strict=True):
            event.set()
            thread.join()
        self._in.close()
        self._out.close()


@contextmanager
def traffic(world: Underlay, key: SegmentKey) -> Iterator[list[Numbered]]:
    a, b = (f"{world.prefix}{name}" for name in NAMES[key])
    flows = [Numbered(a, b, B4), Numbered(b, a, A4)]
    try:
        yield flows
    finally:
        for flow in flows:
            flow.end()


def told(path: UserDatapath, what: str) -> None:
    found: list[Event] = []
    fd = path.events_fd()
    while not any(what in event.what for event in found):
        assert select.select([fd], [], [], PATIENCE)[0], f"only this came: {found}"
        found += path.events()


@pytest.mark.parametrize("overlay", [OPEN, GROUP], ids=["unicast", "group"])
@pytest.mark.parametrize("killed", [0, 1])
def test_a_worker_that_is_killed_takes_its_own_networks_alone(
    underlay: Underlay, killed: int, overlay: Overlay
) -> None:
    with networks(underlay, overlay) as (mine, _):
        front, workers = mine.pid, pids(mine)
        dead, left = ((BLUE, RED), (RED, BLUE))[killed]
        for here, _ in NAMES.values():
            assert reaches(underlay, B4, source=here)  # every MAC is known
        mine.events_fd()
        mine.events()
        with traffic(underlay, left) as kept, traffic(underlay, dead) as lost:
            assert eventually(lambda: all(flow.came > 100 for flow in (*kept, *lost)))
            os.kill(workers[killed], signal.SIGKILL)
            told(mine, f"worker {killed} of the forwarder ended")
            assert mine.observe().segments.keys() == {left}
            assert pids(mine)[killed] == 0
            then = lost[1].came
            assert bring(mine, plan(underlay, 0, overlay))  # type: ignore[arg-type]
            assert eventually(lambda: lost[1].came > then + 100)
        assert [flow.came for flow in kept] == [flow.sent for flow in kept]
        assert mine.pid == front
        assert pids(mine)[1 - killed] == workers[1 - killed]
        for here, _ in NAMES.values():
            assert reaches(underlay, B4, source=here)
        assert bring(mine, plan(underlay, 0, overlay)) == []  # type: ignore[arg-type]


def test_a_worker_that_hangs_holds_nobody_else_s_networks(underlay: Underlay) -> None:
    with networks(underlay) as (mine, _):
        workers, wanted = pids(mine), narrower(plan(underlay, 0))
        operations = diff(wanted, mine.observe())
        freeze(workers[1])
        applied = mine.apply(operations)
        assert {operation.segment.key for operation in applied.done if isinstance(operation, PutSegment)} == {BLUE}
        assert {operation.port.name for operation in applied.done if isinstance(operation, PutPort)} == {"a"}
        assert {str(error) for _, error in applied.failed} >= {"worker 1 of the forwarder: ended while it was asked"}
        assert mine.observe().segments.keys() == {BLUE}
        assert reaches(underlay, B4)

        def mended() -> bool:
            return not mine.apply(diff(wanted, mine.observe())).failed

        assert eventually(mended)
        assert diff(wanted, mine.observe()) == []
        assert (pids(mine)[0], alive(workers[1])) == (workers[0], False)
        assert reaches(underlay, B4, source="c")


def narrower(wanted: NodePlan) -> NodePlan:
    """With another MTU."""
    segments = {key: replace(segment, mtu=1400) for key, segment in wanted.segments.items()}
    return replace(wanted, segments=segments, ports={name: replace(p, mtu=1400) for name, p in wanted.ports.items()})


def test_a_worker_without_networks_ends_and_what_it_dropped_stays_counted(underlay: Underlay) -> None:
    with networks(underlay, OPEN) as (mine, _):
        front, workers, wanted = mine.pid, pids(mine), plan(underlay, 0, OPEN)
        mine.events_fd()
        raw(f"{underlay.prefix}c", "eth0", Ethernet("01:80:c2:00:00:0e", MACS[0], 0x88CC).encode(bytes(46)))

        def dropped() -> bool:
            return mine.counters().drops.get("for one link") == 1

        assert eventually(dropped)
        bring(mine, Overlay(learning=True, arp=Arp.FLOOD).plan(underlay, 0))  # type: ignore[arg-type]
        assert eventually(lambda: pids(mine) == (workers[0], 0))
        assert eventually(lambda: not alive(workers[1]))
        assert eventually(dropped)
        assert not [event for event in mine.events() if "ended" in event.what]
        bring(mine, wanted)  # type: ignore[arg-type]
        assert (mine.pid, pids(mine)[0]) == (front, workers[0])
        for here, _ in NAMES.values():
            assert reaches(underlay, B4, source=here)


def test_with_its_front_every_worker_ends(underlay: Underlay) -> None:
    with networks(underlay) as (mine, _):
        front, workers = mine.pid, pids(mine)
        assert front is not None
        mine.events_fd()
        os.kill(front, signal.SIGKILL)
        told(mine, "the forwarder ended")
        assert mine.observe() == Observed()
        bring(mine, plan(underlay, 0))  # type: ignore[arg-type]
        assert [alive(pid) for pid in workers] == [False, False]
        for here, _ in NAMES.values():
            assert reaches(underlay, B4, source=here)


def test_a_worker_that_hangs_when_its_front_is_killed_is_ended_by_the_next(underlay: Underlay) -> None:
    with networks(underlay) as (mine, _):
        front, workers = mine.pid, pids(mine)
        assert front is not None
        freeze(workers[1])
        os.kill(front, signal.SIGKILL)
        bring(mine, plan(underlay, 0))  # type: ignore[arg-type]
        assert [alive(pid) for pid in workers] == [False, False]
        for here, _ in NAMES.values():
            assert reaches(underlay, B4, source=here)


@pytest.mark.parametrize("workers", [1, 2])
def test_many_devices_of_one_that_was_killed_are_waited_for(underlay: Underlay, workers: int) -> None:
    wanted = plan(underlay, 0)
    for name in "ac":
        underlay.namespace(name)
    mine = several(underlay, workers=workers)
    more: dict[str, LocalPort] = {}
    for name, port in wanted.ports.items():
        for number in range(1, 41):
            attach = Attach(kind=port.attach.kind, target=name, interface=f"eth{number}")
            more[f"{name}{number}"] = replace(port, name=f"{name}{number}", attach=attach, addresses=())
    wanted = replace(wanted, ports=wanted.ports | more)
    try:
        bring(mine, wanted)  # type: ignore[arg-type]
        os.kill(mine.pid or 0, signal.SIGKILL)
        assert mine.observe() == Observed()
        bring(mine, wanted)  # type: ignore[arg-type]
    finally:
        mine.stop()
        mine.close()


def test_an_agent_that_comes_again_finds_all_and_leaves_nothing_at_its_cleanup(underlay: Underlay) -> None:
    with networks(underlay) as (mine, _):
        front, workers = mine.pid, pids(mine)
        assert front is not None
        mine.close()
        successor = several(underlay, workers=3)
        try:
            assert diff(plan(underlay, 0), successor.observe()) == []
            assert (successor.pid, successor.workers()) == (front, (workers, 3))
            bring(successor, NodePlan("h1"))  # type: ignore[arg-type]
            assert successor.observe() == Observed()
        finally:
            successor.close()
        assert eventually(lambda: not any(map(alive, (front, *workers)))), "nothing to do, nobody there"


def test_stopped_nothing_is_left_and_the_port_is_free(underlay: Underlay) -> None:
    with networks(underlay) as (mine, _):
        front, workers = mine.pid, pids(mine)
        mine.stop()
        assert not any(map(alive, (front or 0, *workers)))
        with socket_in(underlay.hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind((underlay.vteps[0], 4789))


@pytest.mark.parametrize("overlay", [OPEN, GROUP], ids=["unicast", "group"])
def test_what_is_dropped_is_counted_once(underlay: Underlay, overlay: Overlay) -> None:
    with networks(underlay, overlay) as (mine, _):
        frame = Ethernet(BROADCAST, MACS[1], 0x88B5).encode(bytes(46))
        for target in (underlay.vteps[0], *([overlay.group] if overlay.group else [])):
            before = mine.counters().drops
            for vni in (1, 2, 3, 4, 5, 70_000, 5002):
                datagram(underlay.hosts[1], underlay.vteps[1], (target, 4789), Vxlan(vni).encode() + frame)
            for octets in (0, 1, 7, 8):
                datagram(underlay.hosts[1], underlay.vteps[1], (target, 4789), bytes(octets))

            def counted(before: dict[str, int] = before) -> list[int]:
                drops = mine.counters().drops
                return [drops.get(reason, 0) - before.get(reason, 0) for reason in ("unknown VNI", "not VXLAN")]

            assert eventually(lambda: counted() == [7, 4]), counted()


def test_a_train_of_two_networks_reaches_both(underlay: Underlay) -> None:
    with networks(underlay, OPEN) as (mine, _):
        target, train, each = (underlay.vteps[0], 4789), 40, 100
        frame = Ethernet(BROADCAST, "02:00:00:00:00:99", 0x88B5).encode(bytes(each))
        data = b"".join(Vxlan((BLUE, RED)[number % 2].vni).encode() + frame for number in range(train))
        before = mine.counters()
        with socket_in(underlay.hosts[1], socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.bind((underlay.vteps[1], 0))
            out.setsockopt(17, 103, len(data) // train)  # UDP_SEGMENT: nobody cuts it before the VTEP's socket
            out.sendto(data, target)

        def came(key: SegmentKey) -> int:
            return mine.counters().segments.get(key, (0,))[0] - before.segments.get(key, (0,))[0]

        assert eventually(lambda: (came(BLUE), came(RED)) == (train // 2, train // 2)), (came(BLUE), came(RED))
        assert mine.counters().drops == before.drops


def test_both_networks_are_heard_and_spoken_to(underlay: Underlay) -> None:
    with networks(underlay, Overlay(arp=Arp.FLOOD)) as (mine, _):
        mine.watch([BLUE, RED])
        fresh = "02:00:00:00:00:77"
        question = Ethernet(BROADCAST, fresh, ARP).encode(request(fresh, "10.1.1.77", "10.1.1.78").encode())

        def all_heard() -> None:
            wanted, found = {(BLUE, "a"), (RED, "c")}, set()
            while not wanted <= found:
                assert select.select([mine.punt_fd()], [], [], PATIENCE)[0], f"only this came: {found}"
                for each in mine.punt():
                    if isinstance(each, Heard) and each.mac == fresh and not each.gone:
                        found.add((each.segment, each.port))
                    assert not isinstance(each, Punted) or each.frame == question or fresh not in str(each)

        for name in "ac":
            raw(f"{underlay.prefix}{name}", "eth0", question)
        all_heard()
        os.kill(pids(mine)[1], signal.SIGKILL)
        assert eventually(lambda: mine.observe().segments.keys() == {BLUE})
        bring(mine, plan(underlay, 0, Overlay(arp=Arp.FLOOD)))  # type: ignore[arg-type]
        raw(f"{underlay.prefix}c", "eth0", question)
        mine.watch([BLUE, RED])  # which tells who is remembered
        all_heard()
        for key, name in ((BLUE, "a"), (RED, "c")):
            with socket_in(f"{underlay.prefix}{name}", socket.AF_PACKET, socket.SOCK_RAW) as listener:
                listener.settimeout(PATIENCE)
                listener.bind(("eth0", 0x88B5))
                said = Ethernet(MACS[0], fresh, 0x88B5).encode(name.encode() * 46)
                mine.inject(key, said, ToPorts(name))
                assert listener.recv(2000) == said
        with pytest.raises(WeftError, match="not here"):
            mine.inject(SegmentKey(4789, 9), question, ToPorts("a"))


def test_a_port_goes_to_another_network_and_failures_name_their_step(underlay: Underlay) -> None:
    with networks(underlay) as (mine, _):
        wanted = plan(underlay, 0)
        only = {"a": wanted.ports["a"]}
        bring(mine, NodePlan("h1", wanted.segments, wanted.tables, only))  # type: ignore[arg-type]
        ip(f"{underlay.prefix}c", "ip", "link", "add", "eth0", "type", "bridge")
        operations = diff(wanted, mine.observe())
        applied = mine.apply(operations)
        assert [operation for operation, _ in applied.failed] == [
            each for each in operations if isinstance(each, PutPort)
        ]
        assert "has a device eth0 already" in str(applied.failed[0][1])
        ip(f"{underlay.prefix}c", "ip", "link", "delete", "eth0")
        bring(mine, wanted)  # type: ignore[arg-type]
        assert reaches(underlay, B4, source="c")


def test_a_udp_port_that_another_program_shares_is_refused(underlay: Underlay) -> None:
    underlay.namespace("a")
    mine = several(underlay)
    try:
        with socket_in(underlay.hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind((underlay.vteps[0], 4789))
            failed = mine.apply(diff(Overlay().plan(underlay, 0), mine.observe())).failed
            assert "another program" in str(failed[0][1])
            assert mine.observe() == Observed()
        bring(mine, Overlay().plan(underlay, 0))  # type: ignore[arg-type]
        assert len(pids(mine)) == 2
    finally:
        mine.stop()
        mine.close()


def test_an_ip_tunnel_is_one_worker_s(underlay: Underlay) -> None:
    here = underlay.hosts[0]
    with tunnels(underlay, 1):
        mine = IpTunnels("flannel", here)
        mine._client = Client("flannel", here, workers=2)
        try:
            wanted = tunnel_stage.plan(underlay, 0)
            for _ in range(2):
                tunnel_stage.bring(mine, wanted)
                ip(here, "ping", "-c", "2", "-i", "0.05", "-W", "10", tunnel_stage.OWN[1])
                state = mine._client.ask(control.Observe(), start=False)
                assert isinstance(state, control.State)
                worker, idle = state.workers
                assert (taps(worker), idle) == ([tunnel_stage.DEVICE], 0)
                assert mine.counters().ports[tunnel_stage.DEVICE][0] >= 2
                os.kill(worker, signal.SIGKILL)
                assert eventually(lambda: mine.observe() == {})
        finally:
            mine.stop()
            mine.close()


def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    kept = os.open(os.devnull, os.O_RDONLY)
    child = Child(0, "default", kept, lambda _: None, lambda _: None, lambda _: ended.set())
    try:
        assert isinstance(child.ask(control.Observe()), control.State)
        freeze(child.pid)
        monkeypatch.setattr(control, "PATIENCE", 2.0)
        assert child.ask(control.Observe()) is None
        assert ended.wait(PATIENCE)
    finally:
        child.close()
        os.close(kept)
