"""Routes and policy rules of one namespace, one message each: read, written, removed; ours alone.

struct fib_rule_hdr { u8 family, dst_len, src_len, tos, table, res1, res2, action; u32 flags; }   fib_rules.h
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable

from weft.netlink import message as m
from weft.netlink import route as r
from weft.netlink.channel import Channel, NetlinkError, failure
from weft.netlink.route import KernelRoute
from weft.plan.router import Rule

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE = 8, 19
_TO_TABLE = 1
_LOCAL = 255  # the table of addresses and broadcasts, which the kernel keeps
_DST, _SRC, _PRIORITY, _TABLE, _PROTOCOL, _IP_PROTOCOL, _PORTS = 1, 2, 6, 15, 21, 22, 24
_GONE = frozenset({errno.ESRCH, errno.ENOENT})
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class Routing:
    """Of the namespace that the channel lives in; routes of one `protocol`. Errors are WeftErrors that name the route
    or rule."""

    def __init__(self, channel: Channel, protocol: int = r.PROTOCOL) -> None:
        self._channel, self._protocol = channel, protocol

    def routes(self) -> list[KernelRoute]:
        """Every route of our protocol, host routes in bulk left out (weft.netlink.bulk reads those)."""
        return r.decode(self._dump(r.ours(family, self._protocol) for family in _FAMILY.values())).others

    def connected(self) -> set[tuple[str, int]]:
        """(subnet, device's index) of the routes that the kernel made with addresses."""
        octets = self._dump(r.by_protocol(family, r.KERNEL) for family in _FAMILY.values())
        return {(route.to, index) for route in r.decode_all(octets) for _, index in route.hops}

    def all_ipv4(self) -> list[KernelRoute]:
        """Every IPv4 route in every table but the local one, anybody's; those that lead nowhere have no hops."""
        return [route for route in r.decode_all(self._dump([r.ours(socket.AF_INET, 0)])) if route.table != _LOCAL]

    def _dump(self, requests: Iterable[bytes]) -> bytes:
        try:
            return b"".join(part for body in requests for part in self._channel.datagrams(r.RTM_GETROUTE, body))
        except NetlinkError as error:
            raise failure(error, "routes", "read routes") from error

    def put_route(self, route: KernelRoute) -> None:
        """In the place of the one with its destination, table and metric."""
        try:
            if ":" in route.to:  # IPv6 would add hops to those that stand, or keep an unreachable one
                self._request(r.RTM_DELROUTE, 0, r.encode_key(route), _GONE)
            self._request(r.RTM_NEWROUTE, m.NLM_F_CREATE | m.NLM_F_REPLACE, r.encode(route))
        except NetlinkError as error:
            raise failure(error, f"route to {route.to}", "write it") from error

    def drop_route(self, route: KernelRoute) -> None:
        try:
            self._request(r.RTM_DELROUTE, 0, r.encode_key(route), _GONE)
        except NetlinkError as error:
            raise failure(error, f"route to {route.to}", "remove it") from error

    def rules(self) -> list[Rule]:
        found: list[Rule] = []
        try:
            for version, family in _FAMILY.items():
                bodies = self._channel.dump(RTM_GETRULE, _header(family))
                found += [rule for body in bodies if (rule := _rule(version, body))]
        except NetlinkError as error:
            raise failure(error, "rules", "read rules") from error
        return found

    def put_rule(self, rule: Rule) -> None:
        try:
            self._request(RTM_NEWRULE, m.NLM_F_CREATE | m.NLM_F_EXCL, _encode(rule), frozenset({errno.EEXIST}))
        except NetlinkError as error:
            raise failure(error, f"rule {rule}", "write it") from error

    def drop_rule(self, rule: Rule) -> None:
        try:
            self._request(RTM_DELRULE, 0, _encode(rule), _GONE)
        except NetlinkError as error:
            raise failure(error, f"rule {rule}", "remove it") from error

    def _request(self, kind: int, flags: int, body: bytes, fine: frozenset[int] = frozenset()) -> None:
        try:
            self._channel.request(kind, flags, body)
        except NetlinkError as error:
            if error.errno not in fine:
                raise


def _header(family: int, to: int = 0, source: int = 0, table: int = 0, action: int = 0) -> bytes:
    return struct.pack("=8BI", family, to, source, 0, table, 0, 0, action, 0)


def _encode(rule: Rule) -> bytes:
    to = ipaddress.ip_network(rule.to) if rule.to else None
    source = ipaddress.ip_network(rule.source) if rule.source else None
    lengths = (to.prefixlen if to else 0, source.prefixlen if source else 0)
    body = _header(_FAMILY[rule.family], *lengths, rule.table if rule.table < 256 else 0, _TO_TABLE)
    body += m.u32(_PRIORITY, rule.priority) + m.u32(_TABLE, rule.table) + m.u8(_PROTOCOL, r.PROTOCOL)
    body += m.attribute(_DST, to.network_address.packed) if to else b""
    body += m.attribute(_SRC, source.network_address.packed) if source else b""
    body += m.u8(_IP_PROTOCOL, rule.protocol) if rule.protocol else b""
    return body + (m.attribute(_PORTS, struct.pack("=HH", rule.port, rule.port)) if rule.port else b"")


def _rule(version: int, body: bytes) -> Rule | None:
    """The rule, if it is one of ours."""
    _, to, source, _, table, _, _, _, _ = struct.unpack_from("=8BI", body)
    found = m.parse(body, 12)
    if m.to_int(found.get(_PROTOCOL)) != r.PROTOCOL:
        return None
    ports = found.get(_PORTS)
    return Rule(
        m.to_int(found.get(_PRIORITY)),
        m.to_int(found.get(_TABLE), table),
        version,
        f"{ipaddress.ip_address(found[_SRC])}/{source}" if _SRC in found else "",
        f"{ipaddress.ip_address(found[_DST])}/{to}" if _DST in found else "",
        m.to_int(found.get(_IP_PROTOCOL)),
        struct.unpack("=HH", ports)[0] if ports else 0,
    )
