"""What is not provably ours is never touched; what is ours is found by anybody who looks; many of it is no trouble."""

from __future__ import annotations

import json
import os
import select
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from tests.l2.l2_world import BLUE, MACS, Overlay, Underlay, bring, ip, reaches
from weft.l2.datapath import Event
from weft.model.network import Arp, SegmentKey
from weft.netlink import sysctl
from weft.plan import tables
from weft.plan.diff import diff
from weft.plan.node import NodePlan
from weft.plan.operations import PutSegment
from weft.plan.tables import Tables

pytestmark = pytest.mark.system

FOREIGN = (
    "ip link add wb7000 type bridge",
    "ip link add wx7000 type vxlan id 7000 dstport 4789 local 192.168.33.12",
    "ip link set wx7000 master wb7000",
    "bridge fdb add 02:00:00:00:00:77 dev wx7000 dst 192.168.33.13 self master static",
    "ip link add br0 type bridge",
    "ip link add wp-z type veth peer name wp-y",
    "ip link set br0 alias weft:other/network/blue",
    "nft add table bridge mine",
    "nft add chain bridge mine weft { type filter hook postrouting priority 0 ; }",
)


def state(host: str) -> str:
    commands = ("ip -d -o link show", "bridge fdb show", "ip neigh show", "nft list ruleset", "ip -o addr show")
    show = [["ip", "netns", "exec", host, *command.split()] for command in commands]
    text = "".join(subprocess.run(command, capture_output=True, check=True, text=True).stdout for command in show)
    return "\n".join(sorted(line.split(" gc_timer")[0] for line in text.splitlines() if "dev eth1 lladdr" not in line))


def test_foreign_devices_rows_and_tables_survive(underlay: Underlay) -> None:
    for command in FOREIGN:
        ip(underlay.hosts[0], *command.split())
    before = state(underlay.hosts[0])
    first, _ = Overlay().up(underlay)
    assert first.observe().segments.keys() == {BLUE}
    assert reaches(underlay, "10.1.1.12")
    bring(first, NodePlan("h1"))
    assert state(underlay.hosts[0]) == before


def test_a_foreign_device_in_our_place_is_named_and_left(underlay: Underlay) -> None:
    first = underlay.datapath(0)
    ip(underlay.hosts[0], *["ip", "link", "add", "wx5000", "type", "bridge"])
    wanted = Overlay().plan(underlay, 0)
    failed = first.apply(diff(NodePlan("h1", wanted.segments, wanted.tables), first.observe())).failed
    assert all("wx5000: a bridge that is not weft's stands where weft needs this name" in str(e) for _, e in failed[:1])
    ip(underlay.hosts[0], *["ip", "link", "del", "wx5000"])
    bring(first, NodePlan("h1", wanted.segments, wanted.tables))


def link(host: str, name: str) -> dict[str, Any]:
    """As iproute2 shows it; {} for none."""
    shown = subprocess.run(["ip", "-n", host, "-j", "link", "show", name], capture_output=True, text=True, check=False)
    return dict(json.loads(shown.stdout)[0]) if shown.returncode == 0 else {}


@pytest.mark.parametrize("name", ["wb5000", "wx5000"])
def test_a_renamed_device_gets_its_name_back(underlay: Underlay, name: str) -> None:
    """The same device, with all that it holds."""
    Overlay().up(underlay)
    before = link(underlay.hosts[0], name)
    ip(underlay.hosts[0], *f"ip link set {name} name foo".split())
    assert f"{name} is called foo" in "".join(bring(underlay.datapath(0), Overlay().plan(underlay, 0)))
    after = link(underlay.hosts[0], name)
    assert (after["ifindex"], after["ifalias"]) == (before["ifindex"], before["ifalias"])
    assert link(underlay.hosts[0], "foo") == {}
    assert reaches(underlay, "10.1.1.12")


def test_what_is_renamed_is_cleaned_up_too(underlay: Underlay) -> None:
    host = underlay.hosts[0]
    before = state(host)
    Overlay().up(underlay)
    for name, other in (("wb5000", "foo"), ("wx5000", "bar")):
        ip(host, *f"ip link set {name} name {other}".split())
    bring(underlay.datapath(0), NodePlan("h1"))
    assert state(host) == before


def test_a_device_that_was_replaced_goes(underlay: Underlay) -> None:
    Overlay().up(underlay)
    wanted = Overlay().plan(underlay, 0)
    ip(underlay.hosts[0], *["ip", "link", "set", "wb5000", "name", "foo"])
    blind = underlay.datapath(0)
    blind.observe()
    blind._host.strays.clear()
    assert not blind.apply([PutSegment(wanted.segments[BLUE], ("wb5000 is missing",))]).failed
    assert link(underlay.hosts[0], "foo")
    bring(underlay.datapath(0), wanted)
    assert link(underlay.hosts[0], "foo") == {}
    assert reaches(underlay, "10.1.1.12")


def test_an_alias_copied_to_the_letter_makes_nothing_ours(underlay: Underlay) -> None:
    """On devices of the same kind, also while ours are away."""
    host = underlay.hosts[0]
    Overlay().up(underlay)
    copies = {"copy0": "bridge", "copy1": "vxlan id 7 dstport 4790 local 192.168.33.12"}
    for (name, kind), ours in zip(copies.items(), ("wb5000", "wx5000"), strict=True):
        ip(host, *f"ip link add {name} type {kind}".split())
        ip(host, "ip", "link", "set", name, "alias", link(host, ours)["ifalias"])
    before = [link(host, name) for name in copies]
    path = underlay.datapath(0)
    assert bring(path, Overlay().plan(underlay, 0)) == []
    ip(host, *["ip", "link", "del", "wb5000"])
    bring(path, Overlay().plan(underlay, 0))
    bring(path, NodePlan("h1"))
    assert [link(host, name) for name in copies] == before


def test_two_clusters_on_one_host_do_not_see_each_other(underlay: Underlay) -> None:
    first = underlay.datapath(0)
    other = underlay.datapath(0, cluster="other")
    wanted = Overlay().plan(underlay, 0)
    plans = NodePlan("h1", wanted.segments, wanted.tables), Overlay(key=SegmentKey(4789, 6000)).plan(underlay, 0)
    bring(first, plans[0])
    bring(other, NodePlan("h1", plans[1].segments, plans[1].tables))
    assert first.observe().segments.keys() == {BLUE}
    assert bring(first, plans[0]) == []
    bring(other, NodePlan("h1"))
    assert bring(first, plans[0]) == []


def test_another_process_sees_the_same(underlay: Underlay) -> None:
    first, _ = Overlay().up(underlay)
    again = underlay.datapath(0)
    assert diff(Overlay().plan(underlay, 0), again.observe()) == []
    assert again.observe() == first.observe()


def test_more_groups_than_the_kernel_allows_by_itself(underlay: Underlay) -> None:
    first = underlay.datapath(0)
    segment = replace(Overlay(learning=True, arp=Arp.FLOOD).plan(underlay, 0).segments[BLUE], group="239.1.1.1")
    keys = [SegmentKey(4789, 100 + i) for i in range(30)]
    segments = {key: replace(segment, key=key, group=f"239.1.2.{i}") for i, key in enumerate(keys)}
    bring(first, NodePlan("h1", segments, {key: Tables.none() for key in keys}))
    assert int(sysctl.read("ipv4/igmp_max_memberships", underlay.hosts[0]) or 0) > 30


def test_many_rows_of_both_families(underlay: Underlay) -> None:
    first = underlay.datapath(0)
    plan = Overlay().plan(underlay, 0)
    macs = [f"02:00:00:01:{i // 256:02x}:{i % 256:02x}" for i in range(5000)]
    rows = Tables(
        tables.fdb((mac, f"192.168.33.{20 + i % 200}") for i, mac in enumerate(macs)),
        tables.neighbors(
            (f"fd01::{i:x}" if i % 2 else f"10.1.{i // 200}.{i % 200}", mac) for i, mac in enumerate(macs)
        ),
        tables.flood(f"192.168.33.{20 + i}" for i in range(200)),
    )
    bring(first, NodePlan("h1", plan.segments, {BLUE: rows}))
    assert bring(first, NodePlan("h1", plan.segments, {BLUE: rows})) == []
    half = Tables(rows.fdb[::2], rows.neighbors[1::2], rows.flood[:100])
    bring(first, NodePlan("h1", plan.segments, {BLUE: half}))
    bring(first, NodePlan("h1", plan.segments, {BLUE: Tables.none()}))


def test_a_mac_of_the_bridge_itself_is_never_written_as_remote(underlay: Underlay) -> None:
    first, _ = Overlay().up(underlay)
    wanted = Overlay().plan(underlay, 0)
    bridge = underlay.links(0).get("wb5000")
    assert bridge is not None
    rows = replace(wanted.tables[BLUE], fdb=tables.fdb([(bridge.mac, "192.168.33.13"), (MACS[1], "192.168.33.13")]))
    failed = first.apply(diff(NodePlan("h1", wanted.segments, {BLUE: rows}, wanted.ports), first.observe())).failed
    assert len(failed) == 1
    assert f"{bridge.mac} belongs to a device of this bridge" in str(failed[0][1])
    assert reaches(underlay, "10.1.1.12")


def test_facts_name_the_underlay_device(underlay: Underlay) -> None:
    found = underlay.datapath(0).facts("h1", "192.168.33.12")
    assert (found.interface, found.underlay_mtu) == ("eth1", 1500)
    assert set(found.addresses) == {"192.168.33.12", "fd00:33::12"}
    assert underlay.datapath(0).facts("h1", "192.168.33.99").interface is None


def test_events_tell_of_ours_only(underlay: Underlay) -> None:
    first, _ = Overlay().up(underlay)
    assert reaches(underlay, "10.1.1.12")
    fd = first.events_fd()
    assert fd is not None
    first.observe()
    while select.select([fd], [], [], 1.0)[0]:  # what our own links stir up: the kernel tells of carriers later
        first.events()
    for command in ("ip link add br0 type bridge", "ip link set br0 up", "ip addr add 10.7.7.7/24 dev br0"):
        ip(underlay.hosts[0], *command.split())
    assert reaches(underlay, "10.1.1.12")
    told = [event for event in first.events() if event.what != "row written"]
    assert told == [Event("underlay: address added")], "an address of the host is a fact; its bridge is none of ours"
    for command, what in (
        (f"bridge fdb del {MACS[1]} dev wx5000 self", "row gone"),
        ("ip addr add 10.9.9.9/24 dev wb5000", "address added"),
        ("ip link set wx5000 down", "link changed"),
        ("ip link del wp-a", "link gone"),
    ):
        ip(underlay.hosts[0], *command.split())
        seen = first.events()
        assert (what, BLUE) in {(event.what, event.segment) for event in seen}
    assert "link gone" not in {event.what for event in first.events()}, "it is told once"
    assert os.path.exists(f"/proc/self/fd/{first.events_fd()}")


@pytest.mark.parametrize("alias", ["weft:default/port/a mtu=x segment=1/x attach=tap", "weft:default/port/a", "weft:"])
def test_an_alias_that_somebody_wrote_harms_nothing(underlay: Underlay, alias: str) -> None:
    first = underlay.datapath(0)
    ip(underlay.hosts[0], *["ip", "link", "add", "nic0", "type", "veth", "peer", "name", "nic1"])
    for device in ("nic0", "nic1", "eth1", "lo"):
        ip(underlay.hosts[0], "ip", "link", "set", device, "alias", alias)
    assert first.observe().ports == {}
    bring(first, NodePlan("h1"))
    assert len(underlay.links(0).dump()) == 4


def test_a_copied_alias_makes_nothing_ours(underlay: Underlay) -> None:
    first, _ = Overlay().up(underlay)
    wanted = Overlay().plan(underlay, 0)
    links = {link.name: link for link in underlay.links(0).dump()}
    for number, ours in enumerate(("wp-a", "wb5000", "wx5000")):
        ip(underlay.hosts[0], "ip", "link", "add", f"br{number}", "type", "bridge")
        ip(underlay.hosts[0], "ip", "link", "set", f"br{number}", "alias", links[ours].alias)
    assert bring(first, wanted) == []
    ip(underlay.hosts[0], *["ip", "link", "set", "wp-a", "down"])
    assert bring(first, wanted) == ["~ port a: wp-a is down"]
    bring(first, NodePlan("h1"))
    assert {link.name for link in underlay.links(0).dump()} == {"lo", "eth1", "br0", "br1", "br2"}
