"""Whatever is done to our devices behind our back is seen, and a diff restores exactly it."""

from __future__ import annotations

import pytest

from tests.l2.l2_world import BLUE, MACS, Overlay, Underlay, bring, ip, reaches
from weft.model.network import Arp
from weft.netlink import namespace
from weft.plan.diff import diff
from weft.plan.node import NodePlan

pytestmark = pytest.mark.system

VTEP = "192.168.33.13"
# what somebody does on the host → words of the operations that mend it
TAMPERING: dict[str, tuple[str, tuple[str, ...]]] = {
    "row deleted": (f"bridge fdb del {MACS[1]} dev wx5000 self", (f"+ fdb 5000: {MACS[1]} → {VTEP}",)),
    "half a row": (f"bridge fdb del {MACS[1]} dev wx5000 master", (f"+ fdb 5000: {MACS[1]} → {VTEP}",)),
    "row changed": (
        f"bridge fdb replace {MACS[1]} dev wx5000 dst 192.168.33.99 self static",
        (f"+ fdb 5000: {MACS[1]} → {VTEP}",),
    ),
    "row added": (
        "bridge fdb add 02:00:00:00:00:99 dev wx5000 dst 192.168.33.99 self master static",
        ("- fdb 5000: 02:00:00:00:00:99 → 192.168.33.99",),
    ),
    "half a row added": (
        "bridge fdb add 02:00:00:00:00:99 dev wx5000 dst 192.168.33.99 self static",
        ("- fdb 5000: 02:00:00:00:00:99 → ::",),
    ),
    "VTEP flooded to": (
        "bridge fdb append 00:00:00:00:00:00 dev wx5000 dst 192.168.33.99 self",
        ("- flood 5000: 192.168.33.99",),
    ),
    "flood list emptied": (f"bridge fdb del 00:00:00:00:00:00 dev wx5000 dst {VTEP} self", (f"+ flood 5000: {VTEP}",)),
    "neighbor deleted": ("ip neigh del fd01::12 dev wb5000", (f"+ neighbors 5000: fd01::12 → {MACS[1]}",)),
    "neighbor added": (
        "ip neigh add 10.1.1.99 lladdr 02:00:00:00:00:99 dev wb5000 nud permanent",
        ("- neighbors 5000: 10.1.1.99 → 02:00:00:00:00:99",),
    ),
    "segment's MTU": ("ip link set wb5000 mtu 1300", ("~ segment 5000 (blue): mtu 1300 → 1430, wx5000 has mtu 1430",)),
    "vxlan's MTU": ("ip link set wx5000 mtu 1300", ("wx5000 has mtu 1300",)),
    "vxlan down": ("ip link set wx5000 down", ("~ segment 5000 (blue): wx5000 is down",)),
    "bridge down": ("ip link set wb5000 down", ("~ segment 5000 (blue): wb5000 is down",)),
    "learning": (
        "ip link set wx5000 type vxlan learning",
        ("~ segment 5000 (blue): learning no → yes", "wrong bridge port flags"),
    ),
    "flooding": ("bridge link set dev wx5000 flood on", ("wx5000 has wrong bridge port flags",)),
    "suppression": ("bridge link set dev wx5000 neigh_suppress off", ("arp flood → suppress",)),
    "nft table": ("nft delete table bridge weft", ("nft lets ARP and ND leave by wx5000",)),
    "ageing": ("ip link set wb5000 type bridge ageing_time 1000", ("wb5000 forgets after 10 s",)),
    "STP": ("ip link set wb5000 type bridge stp_state 1", ("wb5000 runs STP",)),
    "an address": ("ip addr add 10.9.9.9/24 dev wb5000", ("wb5000 has 10.9.9.9/24, which no port gives it",)),
    "out of the bridge": ("ip link set wx5000 nomaster", ("wx5000 is not in wb5000",)),
    "port out of the bridge": ("ip link set wp-a nomaster", ("~ port a: wp-a is not in its bridge",)),
    "port down": ("ip link set wp-a down", ("~ port a: wp-a is down",)),
    "vxlan deleted": ("ip link del wx5000", ("~ segment 5000 (blue): vtep", "+ flood 5000", "+ fdb 5000")),
    "bridge deleted": ("ip link del wb5000", ("wb5000 is missing", "~ port a", "+ neighbors 5000", "+ fdb 5000")),
    "addresses of its own": ("ip link set wx5000 addrgenmode eui64", ("wx5000 makes IPv6 addresses by itself",)),
    "router advertisements": ("sysctl net.ipv6.conf.wb5000.accept_ra=1", ("wb5000 takes router advertisements",)),
    "port deleted": ("ip link del wp-a", ("+ port a:",)),
}
INSIDE: dict[str, tuple[str, str]] = {
    "MAC": ("ip link set eth0 address 02:00:00:00:00:77", "mac 02:00:00:00:00:77 → 02:00:00:00:00:0a"),
    "address": ("ip addr del 10.1.1.11/24 dev eth0", "addresses fd01::11/64 → 10.1.1.11/24 fd01::11/64"),
    "more addresses": ("ip addr add 10.1.1.77/24 dev eth0", "10.1.1.77/24"),
    "down": ("ip link set eth0 down", "eth0 is down"),
    "MTU": ("ip link set eth0 mtu 1300", "mtu 1300 → 1430"),
    "renamed": ("ip link set eth0 name eth7", "eth0 is missing in"),
}


@pytest.mark.parametrize(("command", "words"), TAMPERING.values(), ids=TAMPERING.keys())
def test_drift_on_the_host_is_mended(underlay: Underlay, command: str, words: tuple[str, ...]) -> None:
    overlay = Overlay()
    first, _ = overlay.up(underlay)
    wanted = overlay.plan(underlay, 0)
    assert bring(first, wanted) == []
    ip(underlay.hosts[0], *command.split())
    mended = "\n".join(bring(first, wanted))
    for word in words:
        assert word in mended.replace("yes → no", "no → yes")
    if len(words) == 1 and words[0][0] in "+-" and "port" not in words[0]:
        assert mended == words[0]
    assert bring(first, wanted) == []
    assert reaches(underlay, "10.1.1.12")
    assert reaches(underlay, "fd01::12")


@pytest.mark.parametrize(("command", "words"), INSIDE.values(), ids=INSIDE.keys())
def test_drift_inside_a_namespace_is_mended(underlay: Underlay, command: str, words: str) -> None:
    overlay = Overlay()
    first, _ = overlay.up(underlay)
    wanted = overlay.plan(underlay, 0)
    ip(f"{underlay.prefix}a", *command.split())
    mended = bring(first, wanted)
    assert len(mended) == 1
    assert mended[0].startswith("~ port a: ")
    assert words in mended[0]
    assert reaches(underlay, "10.1.1.12")


def test_a_namespace_that_went_is_named_until_it_is_back(underlay: Underlay) -> None:
    overlay = Overlay()
    first, _ = overlay.up(underlay)
    wanted = overlay.plan(underlay, 0)
    namespace.delete(f"{underlay.prefix}a")
    applied = first.apply(diff(wanted, first.observe()))
    assert [str(error) for _, error in applied.failed] == [
        f"port a: namespace '{underlay.prefix}a' does not exist; ip netns add {underlay.prefix}a"
    ]
    namespace.create(f"{underlay.prefix}a")
    bring(first, wanted)
    assert reaches(underlay, "10.1.1.12")


@pytest.mark.parametrize(
    "after",
    [
        Overlay(arp=Arp.FLOOD),
        Overlay(learning=True, arp=Arp.FLOOD),
        Overlay(learning=True, arp=Arp.FLOOD, group="239.1.1.1"),
        Overlay(six=True),
        Overlay(mtu=1400, age=77),
    ],
    ids=["flood", "data plane", "group", "IPv6", "mtu"],
)
def test_a_network_changes_and_changes_back(underlay: Underlay, after: Overlay) -> None:
    before = Overlay()
    first, second = before.up(underlay)
    for overlay in (after, before):
        for host, path in enumerate((first, second)):
            bring(path, overlay.plan(underlay, host))
        assert reaches(underlay, "10.1.1.12")
    for host, path in enumerate((first, second)):
        bring(path, NodePlan("h"))
        assert path.observe().segments == {}
        assert {link.name for link in underlay.links(host).dump()} == {"lo", "eth1"}


def test_what_was_learned_is_forgotten_with_learning(underlay: Underlay) -> None:
    first, _ = Overlay(learning=True, arp=Arp.FLOOD).up(underlay)
    assert reaches(underlay, "10.1.1.12")
    assert BLUE in first.observe().learned
    bring(first, Overlay(arp=Arp.FLOOD).plan(underlay, 0))
    assert first.observe().learned == {}
