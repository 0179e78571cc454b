"""The vxlan backend on a real kernel: what flannel makes, what it leaves behind, and that it stays so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from tests.peering.flannel.fabric import Fabric, Host
from weft.netlink.bulk import Bulk
from weft.peering.flannel.config import NetworkConfig, parse
from weft.peering.flannel.lease import BackendData, Lease
from weft.peering.flannel.vxlan import VxlanBackend

pytestmark = pytest.mark.system
HEAL = 60.0
"""Seconds to wait for what must come within one on a machine that does nothing else."""


def config(**backend: Any) -> NetworkConfig:
    return parse(json.dumps({"Network": "10.2.0.0/16", "Backend": {"Type": "vxlan", **backend}}).encode())


DUAL = parse(b'{"Network":"10.2.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}')


def lease(subnet: str, number: int, mac: str = "", revision: int = 1, mac6: str = "") -> Lease:
    third = IPv4Network(subnet).network_address.packed[2]
    data, data6 = (f'{{"VNI":1,"VtepMAC":"{each}"}}' if each else "" for each in (mac, mac6))
    return Lease(
        IPv4Network(subnet), IPv6Network(f"fc00:0:0:{third}::/64") if mac6 else None,
        IPv4Address(f"192.168.136.{number}"), IPv6Address(f"fd00:136::{number:x}") if mac6 else None,
        BackendData("vxlan", data, data6), 1, revision,
    )  # fmt: skip


OWN = lease("10.2.5.0/24", 5)
PEERS = [lease("10.2.14.0/24", 14, "02:00:00:00:00:0e"), lease("10.2.15.0/24", 15, "02:00:00:00:00:0f")]


def within(host: Host, work: Callable[[VxlanBackend], Awaitable[None]], wanted: NetworkConfig | None = None) -> None:
    """A backend on a host with this lease, started, for the length of `work`."""

    async def life() -> None:
        backend = VxlanBackend(wanted or config(), host.external, host.namespace)
        try:
            backend.lease_data(None)
            await work(backend)
        finally:
            await backend.close()

    asyncio.run(asyncio.wait_for(life(), 120))


async def healed(backend: VxlanBackend) -> list[str]:
    """What was repaired after the next notice."""
    await asyncio.wait_for(backend.touched(), HEAL)
    return list(await backend.check())


def test_a_lease_says_the_low_16_bits_of_a_vni(hosts: Fabric) -> None:
    host = hosts.host(5)

    async def work(backend: VxlanBackend) -> None:
        said = backend.lease_data(None)
        assert '"VNI":4464,' in said.data
        await backend.start(OWN, host.external)
        assert backend.lease_data(replace(OWN, backend=said)) == said

    within(host, work, config(VNI=70_000))
    assert host.json("link", "show", "flannel.70000")[0]["linkinfo"]["info_data"]["id"] == 70_000


def test_device_rows_and_routes_are_as_flannel_makes_them(hosts: Fabric) -> None:
    host = hosts.host(5)

    async def work(backend: VxlanBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        assert backend.mtu == 1450

    within(host, work)
    link = host.json("link", "show", "flannel.1")[0]
    data = link["linkinfo"]["info_data"]
    assert (link["mtu"], "UP" in link["flags"]) == (1450, True)
    assert (data["id"], data["local"], data["link"], data["port"], data["learning"]) == (
        1,
        "192.168.136.5",
        "eth0",
        8472,
        False,
    )
    assert (data["ttl"], data["udp_csum"]) == (0, True)
    assert "10.2.5.0/32" in host.ip("address", "show", "flannel.1")
    assert host.neighbors("flannel.1") == {"10.2.14.0 02:00:00:00:00:0e", "10.2.15.0 02:00:00:00:00:0f"}
    assert host.fdb("flannel.1") == {"02:00:00:00:00:0e 192.168.136.14", "02:00:00:00:00:0f 192.168.136.15"}
    route = "10.2.14.0/24 via 10.2.14.0 dev flannel.1 proto 88 onlink"
    assert route in [line.strip() for line in host.ip("route").splitlines()]


def test_a_restart_finds_everything_and_writes_nothing(hosts: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    host = hosts.host(5)

    async def first(backend: VxlanBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)

    within(host, first)
    mac, index = host.mac("flannel.1"), host.json("link", "show", "flannel.1")[0]["ifindex"]
    sent = 0
    send = Bulk._send

    def counting(self: Bulk, rows: Any, messages: Any) -> Any:
        nonlocal sent
        sent += len(rows)
        return send(self, rows, messages)

    monkeypatch.setattr(Bulk, "_send", counting)
    within(host, first)
    assert sent == 0
    assert (host.mac("flannel.1"), host.json("link", "show", "flannel.1")[0]["ifindex"]) == (mac, index)


def test_what_flannels_daemon_left_is_taken_over_and_what_is_stale_goes(hosts: Fabric) -> None:
    host = hosts.host(5)
    host.do(
        "ip link add flannel.1 address 02:11:11:11:11:11 mtu 1450 type vxlan id 1 local 192.168.136.5 dev eth0 "
        "dstport 8472 nolearning"
    )
    host.do("ip address add 10.2.5.0/32 dev flannel.1")
    host.do("ip link set flannel.1 up")
    for third, mac in ((14, "0e"), (99, "63")):
        host.do(f"ip neigh add 10.2.{third}.0 lladdr 02:00:00:00:00:{mac} dev flannel.1 nud permanent")
        host.do(f"bridge fdb add 02:00:00:00:00:{mac} dev flannel.1 dst 192.168.136.{third} self permanent")
        host.do(f"ip route add 10.2.{third}.0/24 via 10.2.{third}.0 dev flannel.1 onlink")
    host.do("ip route add 172.20.0.0/16 via 10.2.14.0 dev flannel.1 onlink")
    index = host.json("link", "show", "flannel.1")[0]["ifindex"]

    async def work(backend: VxlanBackend) -> None:
        assert '"VtepMAC":"02:11:11:11:11:11"' in backend.lease_data(None).data
        await backend.start(OWN, host.external)
        assert len(host.routes("flannel.1")) == 3  # nothing goes before the truth is known
        await backend.set_peers(PEERS)

    within(host, work)
    assert host.json("link", "show", "flannel.1")[0]["ifindex"] == index
    assert host.mac("flannel.1") == "02:11:11:11:11:11"
    assert host.routes() == {
        "10.2.14.0/24 via 10.2.14.0 dev flannel.1",
        "10.2.15.0/24 via 10.2.15.0 dev flannel.1",
        "172.20.0.0/16 via 10.2.14.0 dev flannel.1",  # an operator's own
    }
    assert host.neighbors("flannel.1") == {"10.2.14.0 02:00:00:00:00:0e", "10.2.15.0 02:00:00:00:00:0f"}
    assert host.fdb("flannel.1") == {"02:00:00:00:00:0e 192.168.136.14", "02:00:00:00:00:0f 192.168.136.15"}


def test_a_deleted_device_comes_back_with_its_mac_and_all_rows(hosts: Fabric) -> None:
    host = hosts.host(5)

    async def work(backend: VxlanBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        mac = host.mac("flannel.1")
        host.ip("link", "delete", "flannel.1")
        while not any("made" in line for line in await healed(backend)):
            pass
        assert host.mac("flannel.1") == mac
        assert len(host.routes("flannel.1")) == len(host.fdb("flannel.1")) == 2

    within(host, work)


@pytest.mark.parametrize(
    "command",
    [
        "ip route delete 10.2.14.0/24",
        "ip route replace 10.2.14.0/24 via 10.2.15.0 dev flannel.1 onlink",
        "ip neigh delete 10.2.14.0 dev flannel.1",
        "ip neigh replace 10.2.14.0 lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent",
        "bridge fdb delete 02:00:00:00:00:0e dev flannel.1 self",
        "bridge fdb replace 02:00:00:00:00:0e dev flannel.1 dst 192.168.136.99 self permanent",
        "bridge fdb add 02:00:00:00:00:77 dev flannel.1 dst 192.168.136.99 self permanent",
        "ip neigh add 10.2.77.0 lladdr 02:00:00:00:00:77 dev flannel.1 nud permanent",
        "ip route add 10.2.77.0/24 via 10.2.77.0 dev flannel.1 onlink",
        "ip link set flannel.1 down",
        "ip link set flannel.1 mtu 1300",
        "ip link set flannel.1 address 02:99:99:99:99:99",
        "ip address delete 10.2.5.0/32 dev flannel.1",
        "ip address add 10.2.9.9/32 dev flannel.1",
    ],
)
def test_what_others_change_is_put_right(hosts: Fabric, command: str) -> None:
    host = hosts.host(5)

    def state() -> object:
        link = host.json("link", "show", "flannel.1")[0]
        addresses = [each["local"] for each in host.json("-4", "address", "show", "flannel.1")[0]["addr_info"]]
        tables = host.routes(), host.neighbors("flannel.1"), host.fdb("flannel.1")
        return *tables, link["address"], link["mtu"], "UP" in link["flags"], addresses

    async def work(backend: VxlanBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        before = state()
        host.do(command)
        while not await healed(backend):
            pass
        assert state() == before
        assert await backend.check() == []

    within(host, work)


def test_events_come_to_the_same_as_the_whole(hosts: Fabric) -> None:
    host = hosts.host(5)

    async def work(backend: VxlanBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        moved = lease("10.2.14.0/24", 24, "02:00:00:00:00:aa", 5)
        new = lease("10.2.16.0/24", 16, "02:00:00:00:00:10", 6)
        await backend.apply_events([moved, new], [PEERS[1]])
        seen = host.routes(), host.neighbors("flannel.1"), host.fdb("flannel.1")
        assert seen == (
            {"10.2.14.0/24 via 10.2.14.0 dev flannel.1", "10.2.16.0/24 via 10.2.16.0 dev flannel.1"},
            {"10.2.14.0 02:00:00:00:00:aa", "10.2.16.0 02:00:00:00:00:10"},
            {"02:00:00:00:00:aa 192.168.136.24", "02:00:00:00:00:10 192.168.136.16"},
        )
        assert await backend.check() == []
        await backend.set_peers([moved, new])
        assert (host.routes(), host.neighbors("flannel.1"), host.fdb("flannel.1")) == seen

    within(host, work)


def test_direct_routing_spares_the_tunnel_where_the_peer_is_on_the_link(hosts: Fabric) -> None:
    host = hosts.host(5)
    host.do("ip route add 192.168.200.0/24 via 192.168.136.1")
    far = Lease(
        IPv4Network("10.2.15.0/24"), None, IPv4Address("192.168.200.15"), None,
        BackendData("vxlan", '{"VNI":1,"VtepMAC":"02:00:00:00:00:0f"}'), 1, 1,
    )  # fmt: skip
    tunnel = "10.2.15.0/24 via 10.2.15.0 dev flannel.1"

    async def work(backend: VxlanBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers([PEERS[0], far])
        assert host.routes() - {"192.168.200.0/24 via 192.168.136.1 dev eth0"} == {
            "10.2.14.0/24 via 192.168.136.14 dev eth0",
            tunnel,
        }
        assert host.fdb("flannel.1") == {"02:00:00:00:00:0f 192.168.200.15"}
        assert await backend.check() == []
        await backend.apply_events([], [PEERS[0]])
        assert host.routes() - {"192.168.200.0/24 via 192.168.136.1 dev eth0"} == {tunnel}
        await backend.set_peers([PEERS[0], far])

    within(host, work, config(DirectRouting=True))
    within(host, start_and_set(host, [PEERS[0]]), config())  # DirectRouting was taken out of the configuration
    assert "10.2.14.0/24 via 10.2.14.0 dev flannel.1" in host.routes()
    assert not {line for line in host.routes() if "192.168.136.14" in line or "10.2.15.0" in line}


def start_and_set(host: Host, peers: list[Lease]) -> Callable[[VxlanBackend], Awaitable[None]]:
    async def work(backend: VxlanBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(peers)

    return work


def test_dual_stack_has_a_device_for_each_family(hosts: Fabric) -> None:
    host = hosts.host(5)
    peer = lease("10.2.14.0/24", 14, "02:00:00:00:00:0e", 1, "02:00:00:00:06:0e")
    own = lease("10.2.5.0/24", 5, mac6="02:00:00:00:06:05")

    async def work(backend: VxlanBackend) -> None:
        await backend.start(own, host.external)
        await backend.set_peers([peer])
        assert backend.mtu == 1430
        assert await backend.check() == []

    within(host, work, DUAL)
    within(host, work, DUAL)
    assert host.routes() == {
        "10.2.14.0/24 via 10.2.14.0 dev flannel.1",
        "fc00:0:0:14::/64 via fc00:0:0:14:: dev flannel-v6.1",
    }
    assert host.neighbors("flannel-v6.1") == {"fc00:0:0:14:: 02:00:00:00:06:0e"}
    assert host.fdb("flannel-v6.1") == {"02:00:00:00:06:0e fd00:136::e"}
    link = host.json("link", "show", "flannel-v6.1")[0]
    assert (link["mtu"], link["linkinfo"]["info_data"]["local6"]) == (1430, "fd00:136::5")
    assert "fc00:0:0:5::/128" in host.ip("address", "show", "flannel-v6.1")


def test_another_address_of_the_host_changes_the_device_in_place(hosts: Fabric) -> None:
    host = hosts.host(5)

    async def work(backend: VxlanBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        index = host.json("link", "show", "flannel.1")[0]["ifindex"]
        host.number = 6
        await backend.start(lease("10.2.5.0/24", 6), host.external)
        link = host.json("link", "show", "flannel.1")[0]
        assert (link["ifindex"], link["linkinfo"]["info_data"]["local"]) == (index, "192.168.136.6")
        assert len(host.routes("flannel.1")) == 2

    within(host, work)


def test_clean_leaves_nothing_and_close_everything(hosts: Fabric) -> None:
    host = hosts.host(5)

    async def work(backend: VxlanBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        await backend.close(clean=True)

    async def life() -> None:
        await work(VxlanBackend(config(DirectRouting=True), host.external, host.namespace))

    asyncio.run(life())
    assert host.routes() == set()
    assert "flannel.1" not in host.ip("link")
