"""The vxlan backend: peers' leases as rows of ARP, FDB and route table, written in bulk; a device for each family.

Ours are flannel.<VNI> and flannel-v6.<VNI> with all that stands on them, and routes of our protocol number (direct ones
stand on the underlay's device). Routes have the metric that flannel's have, so that one daemon's take the other's place
without a gap. Order: FDB, ARP, route; removals in reverse. All by `weft.netlink.bulk`, one send a table.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from weft.model.address import int_to_mac, mac_to_int
from weft.model.errors import Kind, WeftError
from weft.netlink import neighbor as n
from weft.netlink import route
from weft.netlink.alias import random_mac
from weft.netlink.bulk import Bulk, Refusal
from weft.netlink.namespace import Namespace
from weft.netlink.reach import way
from weft.netlink.route import PROTOCOL_PEERING as PROTOCOL
from weft.peering.flannel import vtep
from weft.peering.flannel.backend import BackendData, External, Lease
from weft.peering.flannel.config import MAX_VNI, VNI, VXLAN_PORT, NetworkConfig
from weft.peering.flannel.device import Device, Devices
from weft.peering.flannel.drift import Drift
from weft.peering.flannel.observe import between, observe
from weft.peering.flannel.peers import Peers, Rowset
from weft.peering.flannel.vtep import Own, Peer
from weft.plan.tables import Rows, Table, text

OVERHEAD = {4: 50, 6: 70}
"""Octets that VXLAN adds on an IPv4 and on an IPv6 underlay (RFC 7348 section 5)."""

_TUNNEL = route.Form(PROTOCOL, 0)
_DIRECT = route.Form(PROTOCOL, 0, onlink=False)
_ANYBODYS = route.Form(0, 0)
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL})


@dataclass
class _Side:
    """One family: its device, what is ours there, and the peers to be reached. `index` 0: no device yet."""

    six: bool
    name: str
    mac: str
    peers: Peers
    device: Device | None = None
    own: Own | None = None
    index: int = 0


class VxlanBackend:
    """`weft.peering.flannel.backend.Backend`; `notes` tells of leases that are not obeyed."""

    def __init__(self, config: NetworkConfig, external: External, namespace: Namespace = None) -> None:
        self._config, self._namespace = config, namespace
        self._vni = config.number("VNI", VNI, MAX_VNI)
        self._port = config.number("Port", VXLAN_PORT, 65535)
        self._fixed_mtu = config.number("MTU", 0, 65535)
        self._direct_wanted = config.flag("DirectRouting")
        self._learning, self._gbp = config.flag("Learning"), config.flag("GBP")
        self._external = external
        self._devices = Devices(namespace)
        self._bulk = Bulk(namespace)
        self._drift: Drift | None = None
        self._sides = [
            _Side(six, f"flannel{'-v6' if six else ''}.{self._vni}", "", Peers())
            for six, pool in ((False, config.four), (True, config.six))
            if pool is not None
        ]
        self._leases: dict[str, Lease] = {}
        self.notes: dict[str, str] = {}

    @property
    def mtu(self) -> int:
        return min(self._mtu(side.six) for side in self._sides)

    def _mtu(self, six: bool) -> int:
        return (self._fixed_mtu or self._external.mtu) - OVERHEAD[6 if six else 4]

    def lease_data(self, previous: Lease | None) -> BackendData:
        data = []
        for side in self._sides:
            side.mac = side.mac or self._devices.mac(side.name) or _told(previous, self._vni, side.six) or random_mac()
            data.append((side.six, f'{{"VNI":{vtep.told(self._vni)},"VtepMAC":"{side.mac}"}}'))
        four, six = (next((text for six, text in data if six is wanted), "") for wanted in (False, True))
        return BackendData("vxlan", four, six)

    async def start(self, own: Lease, external: External) -> None:
        self._external = external
        if self._drift is None:
            self._drift = Drift(self._namespace, frozenset({self._bulk.port}))
        for side in self._sides:
            self._plan(side, own, external)
        self._put_devices()
        if self._leases:
            await self.set_peers(list(self._leases.values()))

    def _plan(self, side: _Side, own: Lease, external: External) -> None:
        pool = self._config.six if side.six else self._config.four
        subnet = own.subnet6 if side.six else own.subnet
        local = external.address6 if side.six else external.address
        public = external.public6 if side.six else external.public
        if pool is None or subnet is None or local is None:
            family, thing = "IPv6" if side.six else "IPv4", "subnet" if subnet is None else "address"
            what = f"no {family} {thing} of this node's is known"
            raise WeftError(Kind.FAILED, what, where=side.name, remedy=f"give {external.name} one, or another -iface")
        side.mac = side.mac or random_mac()
        side.own = Own(pool.network, subnet, mac_to_int(side.mac), self._vni, frozenset(filter(None, (local, public))))
        side.device = Device(
            side.name, self._vni, self._port, external.index, local, self._mtu(side.six), side.mac,
            f"{subnet.network_address}/{subnet.max_prefixlen}", pool.network, self._learning, self._gbp,
        )  # fmt: skip

    def _put_devices(self) -> list[str]:
        done: list[str] = []
        for side in self._sides:
            assert side.device is not None
            link, what = self._devices.put(side.device)
            side.index = link.index
            done += what
        assert self._drift is not None
        self._drift.learn({side.index: (side.name, side.peers) for side in self._sides})
        return done

    # -- peers ----------------------------------------------------------------------------------------------------

    async def set_peers(self, leases: Sequence[Lease]) -> None:
        self._leases = {lease.key: lease for lease in leases}
        self.notes = {}
        for side in self._sides:
            side.peers.replace(self._read(side, leases))
        self._sync()

    async def apply_events(self, added: Sequence[Lease], removed: Sequence[Lease]) -> None:
        for lease in removed:
            self._leases.pop(lease.key, None)
            self.notes.pop(lease.key, None)
        for lease in added:
            self._leases[lease.key] = lease
            self.notes.pop(lease.key, None)
        gone = {lease.key for lease in (*removed, *added)}
        for side in self._sides:
            peers = list(self._read(side, added))
            delta = side.peers.change(peers, gone - {peer.name for peer in peers})
            refused = self._put(side, delta.put) + self._drop(side, delta.drop)
            self._check_refused(side, refused)

    def _read(self, side: _Side, leases: Iterable[Lease]) -> Iterator[Peer]:
        assert side.own is not None
        for lease in leases:
            try:
                peer = vtep.read(lease, side.own, six=side.six)
            except WeftError as error:
                self.notes[lease.key] = str(error)
                continue
            if peer is not None:
                public = lease.public_ip6 if side.six else lease.public_ip
                assert public is not None
                yield replace(peer, direct=self._direct_wanted and self._on_link(public))

    def _on_link(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        found = way(self._devices.channel, address)
        return found is not None and found.gateway is None and found.index == self._external.index

    # -- rows -----------------------------------------------------------------------------------------------------

    def _put(self, side: _Side, rows: Rowset) -> list[tuple[Table, Rows, Refusal]]:
        tables, bulk = rows.tables, self._bulk
        tried = [
            (Table.FDB, tables.fdb, bulk.put_fdb(side.index, tables.fdb, n.NTF_SELF, n.NUD_PERMANENT)),
            (Table.NEIGHBORS, tables.neighbors, bulk.put_neighbors(side.index, tables.neighbors)),
            (Table.ROUTES, tables.routes, bulk.put_routes(side.index, tables.routes, _TUNNEL)),
            (Table.ROUTES, rows.direct, bulk.put_routes(self._external.index, rows.direct, _DIRECT)),
        ]
        return [(table, array, refusal) for table, array, refused in tried for refusal in refused]

    def _drop(self, side: _Side, rows: Rowset) -> list[tuple[Table, Rows, Refusal]]:
        tables, bulk = rows.tables, self._bulk
        tried = [
            (Table.ROUTES, rows.direct, bulk.drop_routes(self._external.index, rows.direct, _DIRECT)),
            (Table.ROUTES, tables.routes, bulk.drop_routes(side.index, tables.routes, _ANYBODYS)),
            (Table.NEIGHBORS, tables.neighbors, bulk.drop_neighbors(side.index, tables.neighbors)),
            (Table.FDB, tables.fdb, bulk.drop_fdb(side.index, tables.fdb, n.NTF_SELF)),
        ]
        found = [(table, array, refusal) for table, array, refused in tried for refusal in refused]
        return [each for each in found if each[2].error.errno not in _GONE]

    def _check_refused(self, side: _Side, refused: list[tuple[Table, Rows, Refusal]]) -> None:
        if refused:
            table, rows, first = refused[0]
            row = " → ".join(text(table, rows[first.row : first.row + 1])[0])
            what = f"{len(refused)} rows were refused, the first, {row}: {first.error}"
            raise WeftError(Kind.FAILED, what, where=f"{table} of {side.name}") from first.error

    def _sync(self) -> list[str]:
        """Makes rows and routes as they are to be, from what is there; what was repaired, in words."""
        done: list[str] = []
        for side in self._sides:
            wanted = side.peers.rows()
            there = observe(self._bulk, side.index, self._external.index, PROTOCOL, six=side.six)
            put, drop = between(wanted, there)
            refused = self._put(side, put) + self._drop(side, drop)
            if put.count or drop.count:
                done.append(f"{side.name}: {put.count} rows written, {drop.count} removed")
            self._check_refused(side, refused)
        return done

    # -- keeping it so --------------------------------------------------------------------------------------------

    async def touched(self) -> None:
        if self._drift is None:
            await asyncio.Event().wait()
            return
        await self._drift.wait()

    async def check(self) -> Sequence[str]:
        if self._drift is None:
            return []
        if self._direct_wanted:
            for side in self._sides:  # who is on the link may be others now
                side.peers.replace(self._read(side, list(self._leases.values())))
        return [*self._put_devices(), *self._sync()]

    async def close(self, *, clean: bool = False) -> None:
        if clean:
            for side in self._sides:
                self._devices.drop(side.name)
                rows = self._bulk.dump_protocol_routes(PROTOCOL)
                for index in set(rows["ifindex"].tolist()):
                    self._bulk.drop_routes(index, route.table_of(rows[rows["ifindex"] == index]), _DIRECT)
        if self._drift is not None:
            self._drift.close()
            self._drift = None
        self._bulk.close()
        self._devices.close()


def _told(previous: Lease | None, vni: int, six: bool) -> str | None:
    """The MAC that a lease says for this family and VNI."""
    if previous is None or previous.backend.type != "vxlan":
        return None
    said, mac = vtep.vtep_of(previous.backend, six=six)
    return int_to_mac(mac) if mac is not None and said in (vni, vtep.told(vni)) else None
