"""The udp backend: peers' leases as routes of one IP tunnel, `flannel0`, on a forwarder of its own.

The tunnel and what forwards by it are weft.l2.user.iptunnel; they go on without this daemon, and its successor finds
them. The forwarder is of a cluster of its own, thereby another one than an agent's. Packets on the wire are those of
flannel's own udp backend, with which a network may be shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from weft.l2.user.iptunnel.tunnels import IpTunnels
from weft.model.errors import Kind, WeftError
from weft.peering.flannel import vtep
from weft.peering.flannel.backend import BackendData, External, Lease
from weft.peering.flannel.config import UDP_PORT, NetworkConfig
from weft.peering.flannel.device import CLUSTER
from weft.peering.flannel.notice import Notice
from weft.peering.flannel.vtep import Own
from weft.plan import tables
from weft.plan.iptunnel import (
    OVERHEAD,
    DropRoutes,
    IpTunnel,
    PutRoutes,
    TunnelOperation,
    TunnelPlan,
    tunnel_diff,
)

DEVICE = "flannel0"
_TYPES = ("", "udp")

Rank = tuple[int, str]


class UdpBackend:
    """`weft.peering.flannel.backend.Backend`; `notes` tells of leases that are not obeyed."""

    def __init__(self, config: NetworkConfig, external: External, namespace: str | None = None) -> None:
        if config.four is None:
            raise WeftError(Kind.INVALID, "the udp backend carries IPv4 only", where="flannel's network configuration")
        self._network, self._external, self._namespace = config.four.network, external, namespace
        self._port = config.number("Port", UDP_PORT, 65535)
        self._tunnels = IpTunnels(CLUSTER, namespace)
        self._notice: Notice | None = None
        self._tunnel: IpTunnel | None = None
        self._own: Own | None = None
        self._peers: dict[IPv4Network, dict[str, tuple[Rank, IPv4Address]]] = {}
        self._leases: dict[str, Lease] = {}
        self.notes: dict[str, str] = {}

    @property
    def mtu(self) -> int:
        return self._external.mtu - OVERHEAD

    def lease_data(self, previous: Lease | None) -> BackendData:
        return BackendData()

    async def start(self, own: Lease, external: External) -> None:
        if own.subnet is None or external.address is None:
            what = f"no IPv4 {'subnet' if own.subnet is None else 'address'} of this node's is known"
            raise WeftError(Kind.FAILED, what, where=DEVICE, remedy=f"give {external.name} one, or another -iface")
        self._external = external
        ours = frozenset(filter(None, (external.address, external.public)))
        self._own = Own(self._network, own.subnet, 0, 0, ours)
        address = f"{own.subnet.network_address}/32"
        self._tunnel = IpTunnel(DEVICE, address, str(self._network), str(external.address), self._port, self.mtu)
        # Routes are left as they are: what a predecessor knew holds until the leases have been read.
        there = await asyncio.to_thread(self._tunnels.observe)
        routes = there[DEVICE].routes if DEVICE in there else tables.empty(tables.Table.ROUTES)
        await self._apply(tunnel_diff({DEVICE: TunnelPlan(self._tunnel, routes)}, there))
        if self._notice is None:
            self._notice = Notice(self._namespace, DEVICE, self._tunnels)
        if self._leases:
            await self.set_peers(list(self._leases.values()))

    # -- peers ----------------------------------------------------------------------------------------------------

    async def set_peers(self, leases: Sequence[Lease]) -> None:
        self._leases = {lease.key: lease for lease in leases}
        self.notes, self._peers = {}, {}
        for lease in leases:
            self._learn(lease)
        await self._repair()

    async def apply_events(self, added: Sequence[Lease], removed: Sequence[Lease]) -> None:
        touched = {lease.subnet for lease in (*added, *removed) if lease.subnet is not None}
        before = dict(self._routes(touched))
        for lease in (*removed, *added):
            self._leases.pop(lease.key, None)
            self.notes.pop(lease.key, None)
            if lease.subnet is not None and lease.subnet in self._peers:
                self._peers[lease.subnet].pop(lease.key, None)
        for lease in added:
            self._leases[lease.key] = lease
            self._learn(lease)
        after = dict(self._routes(touched))
        put = [(to, vtep) for to, vtep in after.items() if before.get(to) != vtep]
        drop = [(to, vtep) for to, vtep in before.items() if to not in after]
        operations: list[TunnelOperation] = []
        operations += [PutRoutes(DEVICE, tables.routes(put))] if put else []
        operations += [DropRoutes(DEVICE, tables.routes(drop))] if drop else []
        await self._apply(operations)

    def _learn(self, lease: Lease) -> None:
        assert self._own is not None
        if lease.subnet is None or lease.backend.type.lower() not in _TYPES:
            return
        try:
            public = vtep.located(lease, lease.subnet, self._own, six=False)
        except WeftError as error:
            self.notes[lease.key] = str(error)
            return
        assert isinstance(public, IPv4Address)
        self._peers.setdefault(lease.subnet, {})[lease.key] = ((lease.revision, lease.key), public)

    def _routes(self, subnets: Iterable[IPv4Network]) -> Iterator[tuple[str, str]]:
        """(subnet, VTEP) of those that have one; of two leases that claim the same, the later one has it."""
        for subnet in subnets:
            if claims := self._peers.get(subnet):
                yield str(subnet), str(max(claims.values())[1])

    # -- keeping it so --------------------------------------------------------------------------------------------

    async def touched(self) -> None:
        if self._notice is None:
            await asyncio.Event().wait()
            return
        await self._notice.wait()

    async def check(self) -> Sequence[str]:
        return [] if self._tunnel is None else await self._repair()

    async def _repair(self) -> list[str]:
        assert self._tunnel is not None
        wanted = TunnelPlan(self._tunnel, tables.routes(self._routes(self._peers)))
        operations: list[TunnelOperation] = []
        try:
            operations = tunnel_diff({DEVICE: wanted}, await asyncio.to_thread(self._tunnels.observe))
            await self._apply(operations)
        finally:
            if self._notice is not None:
                self._notice.listen()
        return [str(operation) for operation in operations]

    async def _apply(self, operations: Sequence[TunnelOperation]) -> None:
        """Raises the first failure, after everything was tried."""
        if not operations:
            return
        failed = await asyncio.to_thread(self._tunnels.apply, operations)
        for _, error in failed:
            raise error

    async def close(self, *, clean: bool = False) -> None:
        if self._notice is not None:
            self._notice.close()
            self._notice = None
        if clean:
            await asyncio.to_thread(self._tunnels.stop)
        self._tunnels.close()
