"""Namespaces, sockets in them, sysctls, offloads, nftables and the probe, on this machine's kernel."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from weft.model.errors import WeftError
from weft.netlink import ethtool, namespace, probe, sysctl
from weft.netlink.bulk import Bulk
from weft.netlink.channel import Channel
from weft.netlink.links import Change, Links, Peer
from weft.netlink.neighbor import NUD_PERMANENT
from weft.netlink.nft import SuppressTable
from weft.netlink.nft_gateway import GatewayTable
from weft.plan import tables

pytestmark = pytest.mark.system
NAME = f"weft-t-{os.getpid()}-n"


@pytest.fixture
def name() -> Iterator[str]:
    namespace.create(NAME)
    yield NAME
    namespace.delete(NAME)


def links_of(where: str) -> set[str]:
    channel = Channel(namespace=where)
    try:
        return {link.name for link in Links(channel).dump()}
    finally:
        channel.close()


def test_a_namespace_is_made_once_and_gone_when_deleted(name: str) -> None:
    assert namespace.exists(name)
    assert name in namespace.names()
    assert links_of(name) == {"lo"}
    with pytest.raises(WeftError, match="exists"):
        namespace.create(name)
    namespace.delete(name)
    assert not namespace.exists(name)
    namespace.delete(name)


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b"])
def test_a_namespace_needs_a_name_of_its_own(bad: str) -> None:
    with pytest.raises(WeftError, match="cannot name"):
        namespace.create(bad)


def test_the_thread_comes_back(name: str) -> None:
    home = os.stat("/proc/thread-self/ns/net").st_ino
    with namespace.entered(name):
        assert os.stat("/proc/thread-self/ns/net").st_ino != home
    with pytest.raises(ZeroDivisionError), namespace.entered(name):
        _ = 1 // 0
    assert os.stat("/proc/thread-self/ns/net").st_ino == home


def test_only_the_calling_thread_enters(name: str) -> None:
    home, seen = os.stat("/proc/thread-self/ns/net").st_ino, []
    with namespace.entered(name):
        other = threading.Thread(target=lambda: seen.append(os.stat("/proc/self/task").st_dev))
        other.start()
        other.join()
    assert seen
    assert os.stat("/proc/thread-self/ns/net").st_ino == home


def test_a_missing_namespace_is_named_with_its_remedy() -> None:
    with pytest.raises(WeftError, match="ip netns add weft-t-none"):
        namespace.socket_in("weft-t-none", socket.AF_INET, socket.SOCK_DGRAM)


def test_a_name_without_a_namespace_behind_it_is_told_with_its_remedy(name: str) -> None:
    subprocess.run(["umount", namespace.path(name)], check=True)
    with pytest.raises(
        WeftError, match=f"^namespace '{name}' is dead: .*; ip netns delete {name}; ip netns add {name}$"
    ):
        namespace.socket_in(name, socket.AF_INET, socket.SOCK_DGRAM)
    with pytest.raises(WeftError, match=f"^port a: namespace '{name}' is dead: "):
        namespace.required(name, by="port a")


def test_links_answer_inside_a_running_event_loop(name: str) -> None:
    async def inside() -> set[str]:
        channel = Channel(namespace=name)
        Links(channel).create(Change(name="wb1", kind="bridge", alias="weft:x", quiet=True))
        channel.close()
        return links_of(name)

    assert asyncio.run(inside()) == {"lo", "wb1"}


def test_a_refusal_names_the_link_in_the_kernels_words(name: str) -> None:
    links = Links(Channel(namespace=name))
    bridge = links.create(Change(name="wb1", kind="bridge", mac="02:00:00:00:00:01", alias="weft:x", quiet=True))
    with pytest.raises(WeftError, match="wb1: cannot create the bridge device: file exists"):
        links.create(Change(name="wb1", kind="bridge"))
    with pytest.raises(WeftError, match="wb1: cannot change mtu to 10: mtu less than device minimum"):
        links.change(bridge, Change(mtu=10))
    there = links.get("wb1")
    assert there is not None
    assert (there.mac, there.alias, there.addrgen) == ("02:00:00:00:00:01", "weft:x", 1)
    links.delete(bridge)
    links.delete(bridge)
    assert links.get("wb1") is None


def test_refused_rows_lead_back_to_their_index(name: str) -> None:
    links, bulk = Links(Channel(namespace=name)), Bulk(name)
    bridge = links.create(Change(name="wb1", kind="bridge", up=True))
    wanted = [(f"10.1.{i // 200}.{i % 200 + 1}", f"02:00:00:00:{i // 200:02x}:{i % 200:02x}") for i in range(1000)]
    rows = tables.neighbors(wanted)
    assert bulk.put_neighbors(bridge.index, rows) == []
    found = bulk.dump_neighbors()
    assert np.count_nonzero(found["state"] == NUD_PERMANENT) == 1000
    there = np.concatenate((rows[:3], rows[500:503]))
    assert bulk.drop_neighbors(bridge.index, there) == []
    assert sorted(refusal.row for refusal in bulk.drop_neighbors(bridge.index, rows)) == [0, 1, 2, 500, 501, 502]
    assert len(bulk.put_neighbors(999, rows)) == 1000
    bulk.close()


def test_sysctls_are_the_namespaces_own(name: str) -> None:
    before = sysctl.read("ipv4/ip_forward")
    sysctl.write("ipv4/ip_forward", 1 - int(before or 0), name)
    assert sysctl.read("ipv4/ip_forward") == before
    assert sysctl.read("ipv4/ip_forward", name) != before
    assert sysctl.read("ipv4/no_such_thing", name) is None
    with pytest.raises(WeftError, match="net/ipv4/no_such_thing"):
        sysctl.write("ipv4/no_such_thing", 1, name)


def test_offloads_go_off_and_on(name: str) -> None:
    Links(Channel(namespace=name)).create(Change(name="v0", kind="veth"), Peer("v1", "02:00:00:00:00:01", 1500))
    ethtool.set_offloads("v0", False, name)
    assert set(ethtool.offloads("v0", name).values()) == {False}
    ethtool.set_offloads("v0", True, name)
    assert ethtool.offloads("v0", name)["tx-checksum"]
    with pytest.raises(WeftError, match="v9"):
        ethtool.offloads("v9", name)


def test_the_nft_table_holds_what_it_is_told_and_mends_itself(name: str) -> None:
    table, foreign = SuppressTable("weft", name), SuppressTable("other", name)
    foreign.add("wx1")
    assert table.observe().devices == frozenset()
    for device in ("wx5000", "wx5000", "wx6000.2118"):
        table.add(device)
    seen = table.observe()
    assert (seen.devices, seen.dropped, seen.whole) == ({"wx5000", "wx6000.2118"}, (0, 0), True)
    table._commit(
        (8, 0, b"\x09\0\x01\0weft\0\0\0\0" + b"\x08\0\x02\0out\0")
    )  # NFT_MSG_DELRULE: every rule of the chain
    assert not table.observe().whole
    table.add("wx5000")
    assert table.observe() == seen
    table.remove("wx5000")
    table.remove("wx5000")
    table.remove("wx6000.2118")
    assert not table.observe().whole
    assert foreign.observe().devices == {"wx1"}
    table.close()
    foreign.close()


def test_what_is_kept_off_a_tunnel_is_found_by_one_look_up(name: str) -> None:
    table, items = GatewayTable("weft-gateways", name), ("0a:11:ae:ad:e6:12", "10.1.1.1", "fd00::1")
    for number in range(3):
        table.put(f"wx{number}.2118", items)
    table.put("wx9", ())
    assert table.observe() == {f"wx{number}.2118": items for number in range(3)}
    ruleset = _nft(name, "list ruleset")
    assert [line.strip() for line in ruleset.splitlines() if "oifname" in line] == [
        'oifname vmap @tunnels comment "tunnels"'
    ]
    assert '"wx1.2118" : goto wx1.2118' in ruleset
    assert "ether saddr 0a:11:ae:ad:e6:12 drop" in ruleset
    table.put("wx1.2118", items[:1])
    table.put("wx0.2118", ())
    assert table.observe() == {"wx1.2118": items[:1], "wx2.2118": items}
    for wound in (
        "flush chain bridge weft-gateways out",
        'delete element bridge weft-gateways tunnels { "wx2.2118" }',
    ):
        _nft(name, wound)
        assert "wx2.2118" not in table.observe()
        table.put("wx1.2118", items[:1])
        table.put("wx2.2118", items)
        assert table.observe() == {"wx1.2118": items[:1], "wx2.2118": items}
    for number in range(100):  # the answers to so many changes at once would be more than a socket holds
        table.put(f"wx{number}", items)
    assert len(table.observe()) == 102
    for device in table.observe():
        table.put(device, ())
    assert not _nft(name, "list ruleset")
    table.close()


def test_a_gateway_table_of_an_older_version_is_replaced_whole(name: str) -> None:
    rules = [
        f'add rule bridge weft-gateways out oifname "{device}" ether {side} 0a:11:ae:ad:e6:12 drop'
        f' comment "{device} 0a:11:ae:ad:e6:12"'
        for device in ("wx1", "wx2")
        for side in ("saddr", "daddr")
    ]
    chain = "add chain bridge weft-gateways out { type filter hook postrouting priority 0; }"
    _nft(name, "\n".join(["add table bridge weft-gateways", chain, *rules]))
    table = GatewayTable("weft-gateways", name)
    assert table.observe() == {}
    table.put("wx1", ("0a:11:ae:ad:e6:12",))
    assert table.observe() == {"wx1": ("0a:11:ae:ad:e6:12",), "wx2": ("0a:11:ae:ad:e6:12",)}
    table.close()


def _nft(name: str, commands: str) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", name, "nft", "-f", "-"], input=commands, text=True, capture_output=True, check=True
    )
    return done.stdout


def test_the_probe_names_only_what_is_missing() -> None:
    missing = probe.missing()
    assert not missing.keys() & {"vxlan", "bridge", "veth", "neigh_suppress", "nft bridge", "namespace"}
    assert all(remedy for remedy in missing.values())
