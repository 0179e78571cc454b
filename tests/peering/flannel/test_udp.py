"""The udp backend on a real kernel: the device as flannel makes it, peers as routes, and that it stays so."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.peering.flannel.fabric import Fabric, Host
from weft.l2.user.iptunnel.tunnels import IpTunnels
from weft.model.errors import WeftError
from weft.peering.flannel.config import parse
from weft.peering.flannel.lease import BackendData, Lease
from weft.peering.flannel.udp import CLUSTER, DEVICE, UdpBackend
from weft.plan.tables import Table, text

pytestmark = pytest.mark.system
HEAL = 60.0
"""Seconds to wait for what must come within one on a machine that does nothing else."""

CONFIG = parse(b'{"Network":"10.2.0.0/16","Backend":{"Type":"UDP"}}')


def lease(subnet: str, address: str, revision: int = 1, kind: str = "") -> Lease:
    return Lease(IPv4Network(subnet), None, IPv4Address(address), None, BackendData(kind), 1, revision)


OWN = lease("10.2.5.0/24", "192.168.136.5")
PEERS = [lease("10.2.14.0/24", "192.168.136.14"), lease("10.2.15.0/24", "192.168.136.15")]


def within(host: Host, work: Callable[[UdpBackend], Awaitable[None]]) -> None:
    """A backend on a host, for the length of `work`; what it made goes after."""

    async def life() -> None:
        backend = UdpBackend(CONFIG, host.external, host.namespace)
        try:
            await work(backend)
        finally:
            await backend.close(clean=True)

    asyncio.run(asyncio.wait_for(life(), 120))


def routes(host: Host) -> set[tuple[str, ...]]:
    """What the forwarder holds."""
    tunnels = IpTunnels(CLUSTER, host.namespace)
    try:
        return set(text(Table.ROUTES, tunnels.observe()[DEVICE].routes))
    finally:
        tunnels.close()


def expected(leases: Iterable[Lease]) -> set[tuple[str, ...]]:
    return {(str(each.subnet), str(each.public_ip)) for each in leases}


async def healed(backend: UdpBackend) -> list[str]:
    """What was repaired after the next notices, the first that found something."""
    while True:
        await asyncio.wait_for(backend.touched(), HEAL)
        if done := list(await backend.check()):
            return done


def test_the_device_is_as_flannel_makes_it(hosts: Fabric) -> None:
    host = hosts.host(5)

    async def work(backend: UdpBackend) -> None:
        assert (backend.mtu, backend.lease_data(None)) == (1472, BackendData())
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        link = host.json("link", "show", DEVICE)[0]
        assert link["mtu"] == 1472
        assert {"POINTOPOINT", "NOARP", "UP"} <= set(link["flags"])
        assert link["linkinfo"]["info_data"]["type"] == "tun"
        assert [each["local"] for each in host.json("address", "show", DEVICE)[0]["addr_info"]] == ["10.2.5.0"]
        assert "10.2.0.0/16 dev flannel0 proto 88" in host.ip("route")
        assert routes(host) == expected(PEERS)
        await backend.close(clean=True)
        assert host.json("link", "show", "type", "tun") == []

    within(host, work)


def test_events_come_to_the_same_as_the_whole(hosts: Fabric) -> None:
    host = hosts.host(5)
    moved = lease("10.2.14.0/24", "192.168.136.41", revision=7)
    vxlan = lease("10.2.15.0/24", "192.168.136.15", revision=8, kind="vxlan")
    new = lease("10.2.16.0/24", "192.168.136.16", revision=9)

    async def work(backend: UdpBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        await backend.apply_events([moved, vxlan, new], [])
        assert routes(host) == expected([moved, new])
        assert list(await backend.check()) == []
        await backend.apply_events([], [new])
        assert routes(host) == expected([moved])
        await backend.set_peers([vxlan, moved])
        assert list(await backend.check()) == []

    within(host, work)


def test_strange_leases_are_not_followed(hosts: Fabric) -> None:
    host = hosts.host(5)
    strange = [
        lease("10.9.0.0/24", "192.168.136.9"),
        lease("10.2.5.128/25", "192.168.136.9"),
        lease("10.2.17.0/24", "192.168.136.5"),
        lease("10.2.18.0/24", "224.0.0.1"),
    ]

    async def work(backend: UdpBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers([*PEERS, *strange])
        assert routes(host) == expected(PEERS)
        assert sorted(backend.notes) == sorted(each.key for each in strange)
        await backend.apply_events([], strange)
        assert backend.notes == {}

    within(host, work)


def test_what_others_break_is_mended(hosts: Fabric) -> None:
    host = hosts.host(5)

    async def work(backend: UdpBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        await backend.check()
        for harm in (
            lambda: host.ip("link", "delete", DEVICE),
            lambda: host.ip("route", "delete", "10.2.0.0/16"),
            lambda: host.ip("link", "set", DEVICE, "mtu", "1400"),
            lambda: os.kill(backend._tunnels.pid or 0, signal.SIGKILL),
        ):
            harm()
            assert await healed(backend)
            assert routes(host) == expected(PEERS)
            assert "10.2.0.0/16 dev flannel0" in host.ip("route")
            assert list(await backend.check()) == []

    within(host, work)


def test_a_successor_takes_over_and_applies_nothing(hosts: Fabric) -> None:
    host = hosts.host(5)

    async def work(backend: UdpBackend) -> None:
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        first = backend._tunnels.pid
        await backend.close()
        successor = UdpBackend(CONFIG, host.external, host.namespace)
        try:
            await successor.start(OWN, host.external)
            assert routes(host) == expected(PEERS)  # before it has read any lease
            await successor.set_peers(PEERS)
            assert (successor._tunnels.pid, list(await successor.check())) == (first, [])
            await successor.set_peers(PEERS[:1])
            assert routes(host) == expected(PEERS[:1])
        finally:
            await successor.close(clean=True)

    asyncio.run(asyncio.wait_for(work(UdpBackend(CONFIG, host.external, host.namespace)), 120))


def test_containers_reach_each_other(hosts: Fabric) -> None:
    both = [hosts.host(5), hosts.host(14)]
    leases = [OWN, PEERS[0]]
    inside = [hosts.containers(host, str(each.subnet)) for host, each in zip(both, leases, strict=True)]

    async def work() -> None:
        backends = [UdpBackend(CONFIG, host.external, host.namespace) for host in both]
        try:
            for index, backend in enumerate(backends):
                await backend.start(leases[index], both[index].external)
                await backend.set_peers([leases[1 - index]])
            host = Host(inside[0], 0)
            assert "ttl=60" in await asyncio.to_thread(host.do, "ping -c 1 -W 10 10.2.14.2")
            told = await asyncio.to_thread(host.exec, "ping", "-c", "1", "-W", "2", "10.2.99.2", check=False)
            assert "From 10.2.5.0 icmp_seq=1 Destination Net Unreachable" in told
        finally:
            for backend in backends:
                await backend.close(clean=True)

    asyncio.run(asyncio.wait_for(work(), 120))


def test_a_device_of_anothers_is_not_touched(hosts: Fabric) -> None:
    host = hosts.host(5)
    host.ip("tuntap", "add", DEVICE, "mode", "tun")

    async def work(backend: UdpBackend) -> None:
        with pytest.raises(WeftError, match="stop flanneld"):
            await backend.start(OWN, host.external)
        host.ip("link", "delete", DEVICE)
        await backend.start(OWN, host.external)
        await backend.set_peers(PEERS)
        assert routes(host) == expected(PEERS)

    within(host, work)
