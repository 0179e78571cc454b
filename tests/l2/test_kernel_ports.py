"""Every kind of attachment, moves between them, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.l2.l2_world import BLUE, IPS, MACS, Overlay, Underlay, bring, ip, reaches
from weft.l2.kernel.datapath import KernelDatapath
from weft.model.port import Attach, AttachKind
from weft.netlink import probe
from weft.plan.diff import diff
from weft.plan.node import NodePlan
from weft.plan.port import LocalPort

pytestmark = pytest.mark.system


def attached(world: Underlay, attach: Attach, name: str = "a", addresses: tuple[str, ...] = IPS[0]) -> NodePlan:
    """The first host's plan with its port attached otherwise."""
    plan = Overlay().plan(world, 0)
    return NodePlan("h1", plan.segments, plan.tables, {name: LocalPort(name, BLUE, attach, MACS[0], addresses, 1430)})


HOST = Attach(kind=AttachKind.HOST)
INTERFACE = Attach(kind=AttachKind.INTERFACE, target="nic0")
TAP = Attach(kind=AttachKind.TAP, target="tap0")


def errors(path: KernelDatapath, wanted: NodePlan) -> list[str]:
    return [str(error) for _, error in path.apply(diff(wanted, path.observe())).failed]


def test_a_port_moves_between_places_and_leaves_nothing(underlay: Underlay) -> None:
    overlay = Overlay()
    first, _ = overlay.up(underlay)
    underlay.namespace("c")
    ip(underlay.hosts[0], *["ip", "link", "add", "nic0", "type", "veth", "peer", "name", "nic1"])
    ip(underlay.hosts[0], "ip", "link", "set", "nic0", "alias", "the operator's own")
    places = [HOST, Attach(kind=AttachKind.NAMESPACE, target="c", interface="net0"), INTERFACE]
    places += [] if "tap" in probe.missing() else [TAP]
    for attach in (*places, overlay.plan(underlay, 0).ports["a"].attach):
        bring(first, attached(underlay, attach))
        assert first.observe().ports["a"].attach == attach
    assert reaches(underlay, "10.1.1.12")
    links = {link.name: link for link in underlay.links(0).dump()}
    assert links.keys() == {"lo", "eth1", "nic0", "nic1", "wb5000", "wx5000", "wp-a"}
    assert (links["nic0"].master, links["nic0"].alias) == (0, "the operator's own")
    assert {link.name for link in underlay.links(0).dump() if link.master} == {"wp-a", "wx5000"}


def test_a_host_port_gives_and_takes_its_address(underlay: Underlay) -> None:
    first = underlay.datapath(0)
    bring(first, attached(underlay, HOST))
    port = first.observe().ports["a"]
    assert (port.mac, port.addresses) == (MACS[0], IPS[0])
    ip(underlay.hosts[0], *["ip", "addr", "del", "10.1.1.11/24", "dev", "wb5000"])
    assert len(bring(first, attached(underlay, HOST))) <= 2
    plan = Overlay().plan(underlay, 0)
    assert bring(first, NodePlan("h1", plan.segments, plan.tables)) == ["- port a"]
    bridge = underlay.links(0).get("wb5000")
    assert bridge is not None
    assert bridge.mac != MACS[0]


@pytest.mark.parametrize("count", [0, 1, 30])
def test_addresses_keep_the_declared_order(underlay: Underlay, count: int) -> None:
    first = underlay.datapath(0)
    underlay.namespace("a")
    addresses = tuple(f"fd01::{i:x}/64" if i % 3 else f"10.1.1.{i + 1}/24" for i in range(count, 0, -1))
    attach = Attach(kind=AttachKind.NAMESPACE, target="a")
    for wanted in (addresses, addresses[::-1], addresses[1:]):
        bring(first, attached(underlay, attach, addresses=wanted))
        assert first.observe().ports["a"].addresses == wanted


@pytest.mark.parametrize(
    ("commands", "attach", "words"),
    [
        ((), Attach(kind=AttachKind.NAMESPACE, target="zz"), "does not exist; ip netns add"),
        ((), INTERFACE, "port a: interface nic0 does not exist"),
        ((), Attach(kind=AttachKind.INTERFACE, target="eth1"), "eth1 has 192.168.33.12/24 and would lose it"),
        ((), Attach(kind=AttachKind.INTERFACE, target="wx5000"), "wx5000 is weft's own device"),
        (
            ("ip link add nic0 type bridge", "ip link add nic1 type veth", "ip link set nic1 master nic0"),
            Attach(kind=AttachKind.INTERFACE, target="nic1"),
            "nic1 belongs to another bridge",
        ),
        (
            ("ip link add wp-a type bridge",),
            Attach(kind=AttachKind.NAMESPACE, target="h2"),
            "wp-a: a bridge that is not weft's stands where weft needs this name",
        ),
        ((), Attach(kind=AttachKind.NAMESPACE, target="h2", interface="eth1"), "has a device eth1 already"),
        (("ip link add tap0 type bridge",), TAP, "tap0: a bridge that is not weft's has this name"),
    ],
)
def test_what_cannot_be_attached_is_refused_by_name(
    underlay: Underlay, commands: tuple[str, ...], attach: Attach, words: str
) -> None:
    first = underlay.datapath(0)
    for command in commands:
        ip(underlay.hosts[0], *command.split())
    before = {link.name: replace(link, stats=b"") for link in underlay.links(0).dump()}
    found = errors(first, attached(underlay, attach))
    assert len(found) == 1
    assert words in found[0]
    after = {link.name: replace(link, stats=b"") for link in underlay.links(0).dump()}
    assert {name: after[name] for name in before} == before
    assert first.observe().ports == {}


def test_a_long_port_name_gets_a_short_device(underlay: Underlay) -> None:
    first = underlay.datapath(0)
    underlay.namespace("a")
    name = "a-very-long-port-name/with more"
    bring(first, attached(underlay, Attach(kind=AttachKind.NAMESPACE, target="a"), name))
    assert first.observe().ports.keys() == {name}
