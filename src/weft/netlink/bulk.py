"""Big tables in and out of the kernel: many messages in one send, only refusals are answered.

Replies carry the message's sequence number, which leads back to its row. A send is worked off before sendmsg(2)
returns, so whatever was refused waits on the socket then; a batch is small enough for all its refusals to fit in an
ordinary user's receive buffer.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weft.model.address import int_to_mac
from weft.netlink import message as m
from weft.netlink import neighbor as n
from weft.netlink import route
from weft.netlink.channel import NETLINK_ROUTE, Channel, NetlinkError, failure
from weft.netlink.namespace import Namespace
from weft.plan.tables import Rows

_BATCH = 400  # a refusal takes up to 1 KiB of receive buffer; 208 KiB (doubled by the kernel) is everybody's
_BUFFER = 4 << 20
_REPLACE = m.NLM_F_CREATE | m.NLM_F_REPLACE
STATIC = n.NUD_NOARP | n.NUD_REACHABLE


@dataclass(frozen=True, slots=True)
class Refusal:
    """`row`: the index of the refused row in the array that was given."""

    row: int
    error: NetlinkError


class Bulk:
    """FDB, flood and neighbor rows and routes by neighbors of one namespace. Returned are refused rows, and why."""

    def __init__(self, namespace: Namespace = None) -> None:
        self._channel = Channel(NETLINK_ROUTE, namespace, buffer=_BUFFER)

    def close(self) -> None:
        self._channel.close()

    @property
    def port(self) -> int:
        return self._channel.port

    def put_fdb(
        self, ifindex: int, rows: Rows, ntf: int = n.NTF_SELF | n.NTF_MASTER, state: int = STATIC
    ) -> list[Refusal]:
        """MAC → VTEP on a vxlan device and MAC → that device on its bridge (where it has one), by one message each.

        The state must be NOARP and REACHABLE ("static"): PERMANENT makes the bridge's row a local address, NOARP
        alone is refused by the bridge after the vxlan's row was written.
        """
        return self._send(rows, n.encode(rows, n.Form(n.FDB, ifindex, _REPLACE, state, ntf)))

    def drop_fdb(self, ifindex: int, rows: Rows, ntf: int = n.NTF_SELF | n.NTF_MASTER) -> list[Refusal]:
        """Removes rows by MAC; a MAC whose bridge row is missing is refused and keeps its vxlan row."""
        return self._send(rows, n.encode(rows, n.Form(n.FDB_KEY, ifindex, ntf=ntf)))

    def is_local(self, port: int, mac: int) -> bool:
        """Whether the bridge of this port owns a MAC, as its own or a port's (rtnl_fdb_get, net/core/rtnetlink.c)."""
        body = n.NDMSG.pack(n.AF_BRIDGE, port, 0, n.NTF_MASTER, 0) + m.attribute(n.NDA_LLADDR, mac.to_bytes(6, "big"))
        try:
            found = self._channel.get(n.RTM_GETNEIGH, body)
        except NetlinkError as error:
            raise failure(error, int_to_mac(mac), "read its row") from error
        return found is not None and bool(n.NDMSG.unpack_from(found)[2] & n.NUD_PERMANENT)

    def age_fdb(self, ifindex: int, rows: Rows) -> list[Refusal]:
        """Makes rows of a bridge port learned ones, which age: by MAC, whatever they were."""
        form = n.Form(n.FDB_KEY, ifindex, _REPLACE, n.NUD_REACHABLE, n.NTF_MASTER)
        return self._send(rows, n.encode(rows, form))

    def put_flood(self, ifindex: int, rows: Rows) -> list[Refusal]:
        """Remotes of the all-zeros MAC, appended; one that is there already is no error."""
        state = n.NUD_NOARP | n.NUD_PERMANENT
        return self._send(
            rows, n.encode(rows, n.Form(n.FLOOD, ifindex, m.NLM_F_CREATE | m.NLM_F_APPEND, state, n.NTF_SELF))
        )

    def drop_flood(self, ifindex: int, rows: Rows) -> list[Refusal]:
        return self._send(rows, n.encode(rows, n.Form(n.FLOOD, ifindex, ntf=n.NTF_SELF)))

    def put_neighbors(self, ifindex: int, rows: Rows) -> list[Refusal]:
        """IP → MAC on a device, permanent."""
        return self._send(rows, n.encode(rows, n.Form(n.NEIGHBOR, ifindex, _REPLACE, n.NUD_PERMANENT)))

    def drop_neighbors(self, ifindex: int, rows: Rows) -> list[Refusal]:
        return self._send(rows, n.encode(rows, n.Form(n.NEIGHBOR_KEY, ifindex)))

    def dump_fdb(self, port: int = 0) -> Rows:
        """Every FDB row of the namespace, or of one bridge port: bridges' (NTF_MASTER) and vxlan devices' own
        (NTF_SELF); dtype ROW."""
        return self._dump(n.NDMSG.pack(n.AF_BRIDGE, port, 0, 0, 0))

    def vtep(self, ifindex: int, mac: bytes) -> str | None:
        """Where a vxlan device has a MAC, learned or not; None where it has not."""
        body = n.NDMSG.pack(n.AF_BRIDGE, ifindex, 0, n.NTF_SELF, 0) + m.attribute(n.NDA_LLADDR, mac)
        try:
            found = self._channel.get(n.RTM_GETNEIGH, body)
        except NetlinkError:
            return None
        octets = m.parse(found, 12).get(n.NDA_DST, b"") if found else b""
        return str(ipaddress.ip_address(octets)) if len(octets) in (4, 16) else None

    def dump_neighbors(self, device: int = 0) -> Rows:
        """Every IPv4 and IPv6 neighbor row of the namespace, or of one device; dtype ROW."""
        return self._dump(n.NDMSG.pack(0, 0, 0, 0, 0) + (m.u32(n.NDA_IFINDEX, device) if device else b""))

    def put_routes(self, ifindex: int, rows: Rows, form: route.Form = route.TABLE) -> list[Refusal]:
        """Routes by next hops on a device, in the place of others of their metric."""
        return self._send(rows, route.encode_table(rows, ifindex, _REPLACE, form))

    def drop_routes(self, ifindex: int, rows: Rows, form: route.Form = route.TABLE) -> list[Refusal]:
        return self._send(rows, route.encode_table(rows, ifindex, 0, form))

    def dump_device_routes(self, ifindex: int) -> Rows:
        """Every route by a neighbor on one device, whoever wrote it; dtype `weft.netlink.route.ROW`."""
        return route.decode_table(self._dump_routes(lambda family: route.by_device(family, ifindex)))

    def dump_protocol_routes(self, protocol: int) -> Rows:
        """Every route by one neighbor that this protocol wrote; dtype `weft.netlink.route.ROW`."""
        return route.decode_table(self._dump_routes(lambda family: route.by_protocol(family, protocol)))

    def dump_routes(self) -> route.Dump:
        """Every route of our protocol."""
        return route.decode(self._dump_routes(route.ours))

    def _dump_routes(self, request: Callable[[int], bytes]) -> bytes:
        octets = b""
        try:
            for family in (socket.AF_INET, socket.AF_INET6):
                octets += b"".join(self._channel.datagrams(route.RTM_GETROUTE, request(family)))
        except NetlinkError as error:
            raise failure(error, "routes", "read routes") from error
        return octets

    def _dump(self, request: bytes) -> Rows:
        try:
            return n.decode(b"".join(self._channel.datagrams(n.RTM_GETNEIGH, request)))
        except NetlinkError as error:
            raise failure(error, "tables", "read rows") from error

    def _send(self, rows: Rows, messages: Iterable[tuple[npt.NDArray[np.intp], n.Octets]]) -> list[Refusal]:
        refused: list[Refusal] = []
        for where, matrix in messages:
            first = self._channel.sequence + 1
            self._channel.sequence += len(matrix)
            n.number(matrix, first)
            for start in range(0, len(matrix), _BATCH):
                self._channel.socket.send(matrix[start : start + _BATCH].data)
                refused += [Refusal(int(where[of - first]), error) for of, error in self._channel.errors()]
        return refused
