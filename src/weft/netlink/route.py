"""Routes ↔ RTM_NEWROUTE messages: those by neighbors by the thousand as arrays, the few others one by one.

    struct rtmsg { u8 family, dst_len, src_len, tos, table, protocol, scope, type; u32 flags; }   uapi/linux/rtnetlink.h

Everything of the agent's bears its protocol number, by which the kernel hands over that alone; a metric tells the
routes of a table from the others. Next hops are "onlink": whether an address has a route of its own is not asked, so
that routes may be written in any order. An IPv4 target may have an IPv6 next hop (RFC 5549; RTA_VIA).
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from weft.netlink import message as m
from weft.netlink import neighbor as n
from weft.plan.tables import ROUTES, Rows, Table, normalized

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE = 7, 11
PROTOCOL = 87  # ours; iproute2's rt_protos leaves it free
KERNEL = 2  # of routes that come with addresses
PROTOCOL_PEERING = 88  # of other control planes' routes, which the agent leaves alone
METRIC_TABLE, METRIC = 10, 20
MAIN = 254
RTMSG = struct.Struct("=8BI")
UNICAST, UNREACHABLE = 1, 7
_UNIVERSE, _LINK, _NOWHERE = 0, 253, 255
_ONLINK = 4
_DST, OIF, _GATEWAY, _PRIORITY, _PREFSRC, _MULTIPATH, _TABLE, _VIA = 1, 4, 5, 6, 7, 9, 15, 18
_NEXTHOP = struct.Struct("=HBBi")


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A route as the kernel has it: `hops` are (next hop or "", device's index); none: unreachable."""

    to: str
    hops: tuple[tuple[str, int], ...]
    table: int = MAIN
    source: str = ""
    metric: int = METRIC
    protocol: int = PROTOCOL


# One decoded route by one neighbor: a row of a table, and what the table does not say.
ROW = np.dtype([*((name, ROUTES[name]) for name in ROUTES.names or ()), ("ifindex", "i4"), ("protocol", "u1")])


@dataclass(frozen=True, slots=True)
class Form:
    """What all routes of one table share. `protocol` 0, to remove: whoever wrote it. `onlink`: the next hop needs no
    route of its own. A metric of 0 is the kernel's choice: 0 for IPv4, 1024 for IPv6."""

    protocol: int = PROTOCOL
    metric: int = METRIC_TABLE
    onlink: bool = True


TABLE = Form()


@dataclass(frozen=True, slots=True)
class Dump:
    """`tables`: device index → routes of its table; `others`: all that are in none."""

    tables: dict[int, Rows] = field(default_factory=dict)
    others: list[KernelRoute] = field(default_factory=list)


def ours(family: int, protocol: int = PROTOCOL) -> bytes:
    """The request for all routes of our protocol."""
    return RTMSG.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0)


def encode(route: KernelRoute) -> bytes:
    """The body of a message that makes this route."""
    to = ipaddress.ip_network(route.to)
    family = socket.AF_INET if to.version == 4 else socket.AF_INET6
    direct = bool(route.hops) and not any(via for via, _ in route.hops)
    scope = _LINK if direct and to.version == 4 else _UNIVERSE
    kind = UNICAST if route.hops else UNREACHABLE
    flags = _ONLINK if len(route.hops) == 1 and not direct else 0
    table = route.table if route.table < 256 else 0
    body = RTMSG.pack(family, to.prefixlen, 0, 0, table, route.protocol, scope, kind, flags)
    body += m.attribute(_DST, to.network_address.packed) if to.prefixlen else b""
    body += m.u32(_TABLE, route.table) + m.u32(_PRIORITY, route.metric)
    if route.source:
        body += m.attribute(_PREFSRC, ipaddress.ip_address(route.source).packed)
    if len(route.hops) == 1:
        via, index = route.hops[0]
        return body + _gateway(via, to.version) + m.u32(OIF, index)
    return body + (
        m.attribute(_MULTIPATH, b"".join(_hop(*hop, to.version) for hop in route.hops)) if route.hops else b""
    )


def encode_key(route: KernelRoute) -> bytes:
    """The body of a message that removes the route of this destination, table and metric, whatever its hops."""
    to = ipaddress.ip_network(route.to)
    family = socket.AF_INET if to.version == 4 else socket.AF_INET6
    table = route.table if route.table < 256 else 0
    body = RTMSG.pack(family, to.prefixlen, 0, 0, table, route.protocol, _NOWHERE, 0, 0)
    body += m.attribute(_DST, to.network_address.packed) if to.prefixlen else b""
    return body + m.u32(_TABLE, route.table) + m.u32(_PRIORITY, route.metric)


def _gateway(via: str, version: int) -> bytes:
    if not via:
        return b""
    address = ipaddress.ip_address(via)
    if address.version == version:
        return m.attribute(_GATEWAY, address.packed)
    return m.attribute(_VIA, struct.pack("=H", socket.AF_INET6) + address.packed)


def _hop(via: str, index: int, version: int) -> bytes:
    gateway = _gateway(via, version)
    return _NEXTHOP.pack(_NEXTHOP.size + len(gateway), _ONLINK if via else 0, 0, index) + gateway


def by_device(family: int, ifindex: int) -> bytes:
    """The request for all routes of the main table by a device, whoever wrote them."""
    return RTMSG.pack(family, 0, 0, 0, MAIN, 0, 0, 0, 0) + m.u32(OIF, ifindex)


def by_protocol(family: int, protocol: int) -> bytes:
    """The request for all routes of the main table that one protocol wrote."""
    return RTMSG.pack(family, 0, 0, 0, MAIN, protocol, 0, 0, 0)


def encode_table(
    rows: Rows, ifindex: int, create: int = 0, form: Form = TABLE
) -> Iterator[tuple[npt.NDArray[np.intp], n.Octets]]:
    """(indices into `rows`, matrix of messages) for families and prefix lengths; `create` 0: the rows are deleted."""
    four = n.is_ipv4(rows["ip_high"], rows["ip_low"])
    by_four = n.is_ipv4(rows["via_high"], rows["via_low"])
    for chosen, size, via in ((four & by_four, 4, 4), (four & ~by_four, 4, 16), (~four & ~by_four, 16, 16)):
        for length in np.unique(rows["length"][chosen]).tolist():
            where = np.flatnonzero(chosen & (rows["length"] == length))
            yield where, _encode_table(rows[where], size, via, length, ifindex, create, form)


def _encode_table(rows: Rows, size: int, via: int, length: int, ifindex: int, create: int, form: Form) -> n.Octets:
    """The messages of rows whose targets have `size` octets and one prefix length, and whose next hops have `via`."""
    family = socket.AF_INET if size == 4 else socket.AF_INET6
    plain = length - (128 - 8 * size)
    flags = _ONLINK if form.onlink else 0
    body = RTMSG.pack(family, plain, 0, 0, MAIN, form.protocol, _UNIVERSE, UNICAST, flags)
    body += m.u32(OIF, ifindex) + (m.u32(_PRIORITY, form.metric) if form.metric else b"")
    body += m.attribute(_DST, bytes(size))
    to_at = 16 + len(body) - size
    gateway = bytes(via) if via == size else struct.pack("=H", socket.AF_INET6) + bytes(via)
    via_at = 16 + len(body) + 4 + len(gateway) - via
    body += m.attribute(_GATEWAY if via == size else _VIA, gateway)
    template = m.message(RTM_NEWROUTE if create else RTM_DELROUTE, create | m.NLM_F_REQUEST, 0, body)
    matrix = np.tile(np.frombuffer(template, np.uint8), (len(rows), 1))
    matrix[:, to_at : to_at + size] = n.address(rows, ("ip_high", "ip_low"), size)
    matrix[:, via_at : via_at + via] = n.address(rows, ("via_high", "via_low"), via)
    return matrix


def decode(octets: bytes) -> Dump:
    """All RTM_NEWROUTE messages in `octets`, whole datagrams one after another."""
    found: dict[int, list[Rows]] = {}
    others: list[KernelRoute] = []
    for block, shape in n.blocks(octets, RTM_NEWROUTE):
        mine = np.zeros(len(block), bool)
        if _PRIORITY in shape and _by_neighbor(shape):
            mine = block[:, shape[_PRIORITY][0] // 4] == METRIC_TABLE
            rows = _columns(block[mine], shape)
            for index in np.unique(rows["ifindex"]).tolist():
                found.setdefault(index, []).append(rows[rows["ifindex"] == index])
        others += [_decode_one(words.tobytes()) for words in block[~mine]]
    return Dump({index: table_of(np.concatenate(parts)) for index, parts in found.items()}, others)


def decode_all(octets: bytes) -> list[KernelRoute]:
    """All RTM_NEWROUTE messages in `octets`, one by one, those of tables too."""
    return [_decode_one(words.tobytes()) for block, _ in n.blocks(octets, RTM_NEWROUTE) for words in block]


def decode_table(octets: bytes) -> Rows:
    """All routes by one neighbor in `octets`, as rows of dtype `ROW`; the others are left out."""
    shaped = [(block, shape) for block, shape in n.blocks(octets, RTM_NEWROUTE) if _by_neighbor(shape)]
    parts = [_columns(block, shape) for block, shape in shaped]
    return np.concatenate(parts) if parts else np.empty(0, ROW)


def table_of(rows: Rows) -> Rows:
    """Rows of dtype `ROW` as a table."""
    out = np.empty(len(rows), ROUTES)
    for name in ROUTES.names or ():
        out[name] = rows[name]
    return normalized(Table.ROUTES, out)


def _by_neighbor(shape: n.Shape) -> bool:
    return _DST in shape and OIF in shape and (_GATEWAY in shape or _VIA in shape)


_LITTLE = struct.pack("=H", 1) == b"\1\0"


def _columns(block: npt.NDArray[np.uint32], shape: n.Shape) -> Rows:
    octets = np.ascontiguousarray(block).view(np.uint8)
    rows = np.zeros(len(block), ROW)
    if not len(block):
        return rows
    rows["length"] = octets[:, 17] + np.where(octets[:, 16] == socket.AF_INET, 96, 0)
    rows["protocol"] = octets[:, 21]
    rows["ifindex"] = block[:, shape[OIF][0] // 4].astype(np.int32)
    _address(rows, "ip", octets, *shape[_DST])
    at, length = shape[_GATEWAY] if _GATEWAY in shape else shape[_VIA]
    _address(rows, "via", octets, at if _GATEWAY in shape else at + 2, length if _GATEWAY in shape else length - 2)
    return rows


def _address(rows: Rows, name: str, octets: n.Octets, at: int, length: int) -> None:
    if length == 4:
        rows[f"{name}_low"] = n.big(octets[:, at : at + 4]) | np.uint64(0xFFFF << 32)
    else:
        rows[f"{name}_high"] = n.big(octets[:, at : at + 8])
        rows[f"{name}_low"] = n.big(octets[:, at + 8 : at + 16])


def _decode_one(message: bytes) -> KernelRoute:
    family, length, _, _, table, protocol, _, kind, _ = RTMSG.unpack_from(message, 16)
    found = m.parse(message, 28)
    zeros = bytes(4 if family == socket.AF_INET else 16)
    to = f"{ipaddress.ip_address(found.get(_DST, zeros))}/{length}"
    hops: tuple[tuple[str, int], ...] = ()
    if kind == UNICAST:
        several = found.get(_MULTIPATH)
        hops = tuple(_hops(several)) if several else ((_via(found), m.to_int(found.get(OIF))),)
    source = found.get(_PREFSRC)
    return KernelRoute(
        to,
        hops,
        m.to_int(found.get(_TABLE), table),
        str(ipaddress.ip_address(source)) if source else "",
        m.to_int(found.get(_PRIORITY)),
        protocol,
    )


def _hops(octets: bytes) -> Iterator[tuple[str, int]]:
    offset = 0
    while offset + _NEXTHOP.size <= len(octets):
        size, _, _, index = _NEXTHOP.unpack_from(octets, offset)
        if size < _NEXTHOP.size:
            return
        yield _via(m.parse(octets[offset : offset + size], _NEXTHOP.size)), index
        offset += (size + 3) & ~3


def _via(found: m.Attributes) -> str:
    octets = found.get(_GATEWAY) or found.get(_VIA, b"")[2:]
    return str(ipaddress.ip_address(octets)) if octets else ""
