"""Labs on this machine: built, used, captured, and gone without a trace. The underlay alone; no agents."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.lab.conftest import ROUTED, ROUTED6
from weft.lab import fleet, grow, inside, lab, process, state
from weft.lab.capture import Capture, underlay
from weft.lab.ping import ping
from weft.lab.transfer import send_frame, send_udp, tcp
from weft.model.errors import Kind, WeftError
from weft.model.file import parse
from weft.model.lab import Packets, Ping, Run, Step
from weft.netlink import ethtool, namespace
from weft.wire import pcapng
from weft.wire.packet import dissect

pytestmark = pytest.mark.system
PATIENCE = 60.0
"""Seconds after which a test gives up; says nothing about how fast it should be."""


def up(name: str, text: str = ROUTED, *, offloads: bool = True) -> state.LabState:
    """A lab whose links carry: the kernel says so in a work queue of its own, which a busy machine can keep waiting."""
    place = lab.up(parse({"t.yaml": text}), name, agents=False, offloads=offloads)
    deadline = time.monotonic() + PATIENCE
    while any(" state UP" not in line for host in ours(name) for line in links(host) if "@" in line):
        assert time.monotonic() < deadline, [links(host) for host in ours(name)]
        time.sleep(0.02)
    return place


def links(host: str) -> list[str]:
    command = ["ip", "-n", host, "-o", "link", "show", "up"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def ours(name: str) -> list[str]:
    return [each for each in namespace.names() if each.startswith(f"weft-{name}-")]


def test_up_builds_what_is_planned_and_down_leaves_nothing(name: str) -> None:
    place = up(name)
    assert sorted(ours(name)) == sorted(place.record().topology.namespaces)
    assert [(each.name, each.status, each.hosts, each.containers) for each in lab.listing()] == [(name, "up", 2, 2)]
    lab.down(name)
    assert not ours(name)
    assert not place.directory.exists()
    assert lab.listing() == []


def test_a_port_is_where_the_store_declares_it_after_a_move_and_back(name: str) -> None:
    place = up(name)
    begun = place.record().intent
    away = replace(begun, ports=begun.ports | {"a": msgspec.structs.replace(begun.ports["a"], node="h2")})
    for intent, node in ((away, "h2"), (begun, "h1"), (away, "h2")):
        fleet.store(place, intent)
        grow.follow(place, intent)
        assert lab.names_of(name).netns("a") == f"weft-{name}-{node}.a"
        assert lab.exec_(name, "a", ["sh", "-c", f"test $(ip netns identify $$) = weft-{name}-{node}.a"]) == 0


def test_a_lab_whose_store_is_gone_is_entered_as_it_came_up(name: str) -> None:
    place = up(name)
    for file in place.directory.glob("store.db*"):
        file.unlink()
    assert lab.exec_(name, "a", ["true"]) == 0
    assert not list(place.directory.glob("store.db*"))


def test_two_labs_at_once_and_never_two_of_one_name(name: str) -> None:
    up(name)
    up(name + "b")
    with pytest.raises(WeftError, match="is up already") as caught:
        up(name)
    assert caught.value.kind is Kind.REFUSED
    lab.down(name)
    assert not ours(name)
    assert len(ours(name + "b")) == 7


def test_of_two_ups_at_once_one_is_refused(name: str) -> None:
    def attempt(_: int) -> bool:
        try:
            state.create(name)
        except WeftError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [False, False, False, True]
    assert lab.listing()[0].status == "half-built"


def test_a_foreign_namespace_is_refused_and_left_alone(name: str) -> None:
    foreign = f"weft-{name}-r2"
    namespace.create(foreign)
    try:
        with pytest.raises(WeftError, match=f"{foreign} is there already"):
            up(name)
        assert ours(name) == [foreign]
        assert lab.listing() == []
    finally:
        namespace.delete(foreign)


def test_a_failed_up_leaves_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # a device with the name of the machine's own underlay device cannot be made twice, which is refused before
    monkeypatch.setattr("weft.model.file.lab_problems", lambda lab, intent: [])
    text = ROUTED + "  external: {web: {interface: eth1, node: h1, address: 50.1.1.1/24}}\n"
    with pytest.raises(WeftError, match="veth eth1"):
        up(name, text)
    assert not ours(name)
    assert lab.listing() == []


def test_a_killed_up_is_cleared_by_name(name: str) -> None:
    place = up(name)
    namespace.delete(f"weft-{name}-h2")
    assert lab.listing()[0].status == "broken"
    lab.down(name)
    assert not ours(name)
    assert not place.directory.exists()


def test_a_lab_of_another_boot_is_stale_and_only_its_record_goes(name: str) -> None:
    place = up(name)
    record = place.record()
    place.write(type(record)(**{field: getattr(record, field) for field in record.__struct_fields__} | {"boot": "x"}))
    assert lab.listing()[0].status == "stale"
    lab.down(name)
    assert lab.listing() == []
    assert ours(name), "namespaces of this boot are not those of the record"
    for each in ours(name):
        namespace.delete(each)


def test_an_unknown_lab_is_told_with_those_there_are(name: str) -> None:
    up(name)
    with pytest.raises(WeftError, match=f"there is no lab 'x'; there are: {name}"):
        lab.down("x")


def test_exec_runs_inside_and_returns_the_exit_code(name: str, tmp_path: Path) -> None:
    up(name)
    seen = tmp_path / "seen"
    script = f"ip -br addr show dev eth1 > {seen}; ls /sys/class/net >> {seen}; exit 7"
    assert lab.exec_(name, "h1", ["sh", "-c", script]) == 7
    assert "192.168.33.12/24" in seen.read_text()
    assert seen.read_text().splitlines()[-2:] == ["eth1", "lo"]
    assert lab.exec_(name, "a", ["true"]) == 0  # a port, and a container, of this name
    assert lab.exec_(name, "h2/b", ["true"]) == 0
    assert lab.exec_(name, "r1", ["sh", "-c", "kill -9 $$"]) == 128 + 9
    with pytest.raises(WeftError, match="has no machine 'h9'"):
        lab.exec_(name, "h9", ["true"])
    with pytest.raises(WeftError, match="cannot run 'no-such-command'"):
        lab.exec_(name, "h1", ["no-such-command"])


def test_down_ends_what_runs_inside(name: str) -> None:
    up(name)
    argv = ["ip", "netns", "exec", f"weft-{name}-h1", "sleep", "100"]
    with subprocess.Popen(argv) as child:
        found = process.of(child.pid)
        assert found
        deadline = time.monotonic() + PATIENCE
        while not process.inside([namespace.path(f"weft-{name}-h1")]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        lab.down(name)
        assert not process.alive(found)


def test_offloads_as_asked(name: str) -> None:
    up(name, offloads=False)
    inside_ = ethtool.offloads("eth1", f"weft-{name}-h1")
    assert not any(inside_.values())
    assert not any(ethtool.offloads("r1.left", f"weft-{name}-fabric").values())


@pytest.mark.parametrize("text", [ROUTED, ROUTED6], ids=["ipv4", "ipv6"])
def test_hosts_reach_each_other_through_the_routers(name: str, text: str) -> None:
    up(name, text)
    names = lab.names_of(name)
    source, target = names.end_point("h1"), names.end_point("h2")
    start, end = source.addresses[0], target.addresses[0]
    pinged = ping(
        source.netns, start, end, count=3, timeout=PATIENCE
    )  # a lost solicitation is said again after a second
    assert (pinged.received, pinged.ttls) == (3, (62, 62, 62))
    assert ping(source.netns, start, end, size=1400, df=True, timeout=PATIENCE).received == 1
    refused = ping(source.netns, start, end, size=1401, df=True, timeout=PATIENCE)
    assert (refused.received, refused.errors) == (0, ("too big, mtu 1400",))
    done = tcp((source.netns, start), (target.netns, end), size=3_000_001)
    assert (done.ok, done.octets) == (True, 3_000_001)


def test_a_ping_that_nobody_answers(name: str) -> None:
    up(name)
    host = f"weft-{name}-h1"
    assert ping(host, "192.168.33.12", "192.168.33.99", timeout=0.2).received == 0
    with pytest.raises(WeftError, match=r"cannot send from 10\.9\.9\.9"):
        ping(host, "10.9.9.9", "192.168.33.99")
    assert not tcp((host, "192.168.33.12"), (host, "10.9.9.9"), size=10, timeout=0.5).ok


def test_a_capture_has_each_frame_once_for_each_lan_in_order(name: str, tmp_path: Path) -> None:
    place = up(name, offloads=False)
    capture = underlay(place.record().topology)
    capture.start()
    assert ping(f"weft-{name}-h1", "192.168.33.12", "192.168.34.13", timeout=PATIENCE).received == 1
    frames = capture.stop()
    capture.check()
    packets = [(frame.sender, dissect(frame.octets)) for frame in frames]
    echo = [(sender, packet.icmp.type, packet.ip.ttl) for sender, packet in packets if packet.icmp and packet.ip]
    assert echo == [("h1", 8, 64), ("r1", 8, 63), ("r2", 8, 62), ("h2", 0, 64), ("r2", 0, 63), ("r1", 0, 62)]
    assert [frame.time for frame in frames] == sorted(frame.time for frame in frames)


def test_multicast_and_broadcast_reach_the_other_hosts_of_a_lan(name: str) -> None:
    up(name, ROUTED.partition("lab:")[0].replace("192.168.34.13", "192.168.33.13"))
    capture = Capture(f"weft-{name}-h2", {"eth1": "h2"})
    capture.start()
    send_udp(f"weft-{name}-h1", "192.168.33.12", "239.1.1.1", 4789)
    send_udp(f"weft-{name}-h1", "192.168.33.12", "192.168.33.255", 4789)
    send_frame(f"weft-{name}-h1", "eth1", bytes.fromhex("ffffffffffff06000000000188b5") + bytes(46))
    frames = capture.stop(1.0)
    assert [frame.octets[:6].hex() for frame in frames] == ["01005e010101", "ffffffffffff", "ffffffffffff"]


def test_steps_give_verdicts_and_captures(name: str, tmp_path: Path) -> None:
    place = up(name, offloads=False)
    there = Ping(source="h1", to="h2")
    icmp = {"plain": "true", "icmp": "echo-request", "outer": "h1>h2"}
    arp = {"plain": "true", "arp": "any"}
    during = (Step(action=there),)
    steps = [
        Step(action=there),
        Step(action=Ping(source="h1", to="192.168.33.77"), negate=True),
        Step(action=there, negate=True),
        Step(action=Packets(on="underlay", during=during, in_order=(icmp | {"outer_ttl": "62"},))),
        Step(action=Packets(on="left", during=during, in_order=(icmp | {"outer_ttl": "63"},)), within=0.3),
        Step(action=Packets(on="h2", during=during, never=(arp,))),
        Step(action=Run(on="h1", command="test -d /proc")),
        Step(action=Run(on="h1", command="false")),
        Step(action=Ping(source="a", to="b")),
    ]
    verdicts = lab.runner_of(place, tmp_path / "pcap").run(steps)
    assert [verdict.ok for verdict in verdicts] == [True, True, False, True, False, True, True, False, False]
    assert "pattern 1 of 1 was not seen" in verdicts[4].detail
    assert "cannot send from 10.1.1.11" in verdicts[8].detail  # no agent has built the port
    saved = pcapng.read((tmp_path / "pcap/step-04.pcapng").read_bytes())
    assert {interface.name for interface in saved.interfaces} == {"h1", "h2", "r1", "r2"}


def test_a_step_may_become_true_in_time(name: str, tmp_path: Path) -> None:
    place = up(name)
    flag = tmp_path / "flag"
    with subprocess.Popen(["sh", "-c", f"sleep 0.4; touch {flag}"]):
        step = Step(action=Run(on="h1", command=f"test -e {flag}"), within=PATIENCE)
        (verdict,) = lab.runner_of(place).run([step])
    assert verdict.ok


def test_a_wire_to_a_machine_behind_an_interface(name: str) -> None:
    port = "  c: {network: blue, node: h1, ips: [10.1.1.13], attach: {interface: eth5}}\nlab:"
    up(name, ROUTED.replace("lab:", port))
    code, output = inside.run(f"weft-{name}-h1.eth5", ["ip", "-br", "addr", "show", "dev", "eth0"])
    assert code == 0
    assert "10.1.1.13/24" in output
    assert inside.run(f"weft-{name}-h1", ["ip", "link", "show", "dev", "eth5"])[0] == 0
