"""Packet patterns of `packets` steps: what a line such as `{arp: request, outer: h1>239.1.1.1, vni: 1}` matches. Pure.

A pattern is a mapping of text to text; all its keys must hold. It speaks of tunnelled packets only, unless it says
`plain: true`: then it matches packets that are in no tunnel, and what it says of the inner packet is said of them.

    outer          A>B: outer IPs; a node, an underlay router, an IP, *
    outer_ttl      TTL or hop limit of the outer header
    outer_dst_mac  node:NAME, a router's name or a MAC
    vni, udp_port  numbers
    inner          A>B: inner IPs; a port, an IP, *; of ARP and ND: who asks or says, and about whom
    ttl            TTL or hop limit of the inner packet
    src_mac, dst_mac  of the inner frame: port:NAME or a MAC
    broadcast      true, false: whether the inner destination is ff:ff:ff:ff:ff:ff
    arp            request, reply, any
    nd             solicitation, advertisement, router-solicitation, router-advertisement, any
    icmp           echo-request, echo-reply, too-big, any
    tcp, udp       any: the inner packet is one
    plain          true: the packet is in no tunnel
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from weft.lab.names import Names
from weft.model.errors import Kind, WeftError
from weft.wire import arp, icmp, icmpv6, nd
from weft.wire.address import BROADCAST
from weft.wire.packet import Packet

T = TypeVar("T")
Pattern = Mapping[str, str]
_ARP = {"request": arp.REQUEST, "reply": arp.REPLY}
_ND: dict[str, type[nd.NeighborDiscovery]] = {
    "solicitation": nd.NeighborSolicitation,
    "advertisement": nd.NeighborAdvertisement,
    "router-solicitation": nd.RouterSolicitation,
    "router-advertisement": nd.RouterAdvertisement,
}
_ICMP = {
    "echo-request": ((icmp.ECHO_REQUEST, None), icmpv6.ECHO_REQUEST),
    "echo-reply": ((icmp.ECHO_REPLY, None), icmpv6.ECHO_REPLY),
    "too-big": ((icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED), icmpv6.PACKET_TOO_BIG),
}


def match(pattern: Pattern, packet: Packet, names: Names) -> bool:
    """Whether every key of the pattern holds; raises INVALID for an unknown key, value or name."""
    check(pattern)
    plain = _truth("plain", pattern.get("plain", "false"))
    if plain != (packet.inner is None):
        return False
    inner = packet.inner or packet
    return all(_TESTS[key](value, packet, inner, names) for key, value in pattern.items())


def check(pattern: Pattern) -> None:
    """Raises INVALID for keys that patterns do not have."""
    for key in pattern:
        if key not in _TESTS:
            raise WeftError(
                Kind.INVALID, f"unknown key '{key}' in a packet pattern", remedy=f"known: {', '.join(_TESTS)}"
            )


def text(pattern: Pattern) -> str:
    """As it stands in the file."""
    return "{" + ", ".join(f"{key}: {value}" for key, value in pattern.items()) + "}"


def _outer(value: str, packet: Packet, _inner: Packet, names: Names) -> bool:
    source, target = _pair("outer", value)
    ip = packet.ip
    return ip is not None and _is(source, (ip.src,), names.outer) and _is(target, (ip.dst,), names.outer)


def _inner(value: str, _packet: Packet, inner: Packet, names: Names) -> bool:
    source, target = _pair("inner", value)
    if inner.arp:
        return _is(source, (inner.arp.sender_ip,), names.inner) and _is(target, (inner.arp.target_ip,), names.inner)
    if inner.ip is None:
        return False
    about = (inner.nd.target,) if isinstance(inner.nd, nd.NeighborSolicitation) else (inner.ip.dst,)
    return _is(source, (inner.ip.src,), names.inner) and _is(target, about, names.inner)


def _arp(value: str, _packet: Packet, inner: Packet, _names: Names) -> bool:
    return inner.arp is not None and (value == "any" or inner.arp.operation == _one_of("arp", value, _ARP))


def _nd(value: str, _packet: Packet, inner: Packet, _names: Names) -> bool:
    kinds = tuple(_ND.values()) if value == "any" else _one_of("nd", value, _ND)
    return isinstance(inner.nd, kinds)


def _icmp(value: str, _packet: Packet, inner: Packet, _names: Names) -> bool:
    if value == "any":
        return inner.icmp is not None or (inner.icmpv6 is not None and inner.nd is None)
    (kind, code), kind6 = _one_of("icmp", value, _ICMP)
    if inner.icmp:
        return inner.icmp.type == kind and code in (None, inner.icmp.code)
    return inner.icmpv6 is not None and inner.icmpv6.type == kind6


def _tcp(value: str, _packet: Packet, inner: Packet, _names: Names) -> bool:
    return _any("tcp", value) and inner.tcp is not None


def _udp(value: str, _packet: Packet, inner: Packet, _names: Names) -> bool:
    return _any("udp", value) and inner.udp is not None


def _vni(value: str, packet: Packet, _inner: Packet, _names: Names) -> bool:
    return packet.vxlan is not None and packet.vxlan.vni == _number("vni", value)


def _udp_port(value: str, packet: Packet, _inner: Packet, _names: Names) -> bool:
    return packet.udp is not None and packet.udp.dst_port == _number("udp_port", value)


def _ttl(value: str, _packet: Packet, inner: Packet, _names: Names) -> bool:
    return inner.ip is not None and inner.ip.ttl == _number("ttl", value)


def _outer_ttl(value: str, packet: Packet, _inner: Packet, _names: Names) -> bool:
    return packet.ip is not None and packet.ip.ttl == _number("outer_ttl", value)


def _src_mac(value: str, _packet: Packet, inner: Packet, names: Names) -> bool:
    return inner.ethernet is not None and inner.ethernet.src == names.port_mac(value)


def _dst_mac(value: str, _packet: Packet, inner: Packet, names: Names) -> bool:
    return inner.ethernet is not None and inner.ethernet.dst == names.port_mac(value)


def _outer_dst_mac(value: str, packet: Packet, _inner: Packet, names: Names) -> bool:
    return packet.ethernet is not None and packet.ethernet.dst in names.underlay_macs(value)


def _broadcast(value: str, _packet: Packet, inner: Packet, _names: Names) -> bool:
    return inner.ethernet is not None and (inner.ethernet.dst == BROADCAST) == _truth("broadcast", value)


def _plain(_value: str, _packet: Packet, _inner: Packet, _names: Names) -> bool:
    return True  # decided before any other key is looked at


_TESTS: dict[str, Callable[[str, Packet, Packet, Names], bool]] = {
    "arp": _arp,
    "nd": _nd,
    "icmp": _icmp,
    "tcp": _tcp,
    "udp": _udp,
    "outer": _outer,
    "inner": _inner,
    "vni": _vni,
    "udp_port": _udp_port,
    "ttl": _ttl,
    "outer_ttl": _outer_ttl,
    "src_mac": _src_mac,
    "dst_mac": _dst_mac,
    "outer_dst_mac": _outer_dst_mac,
    "broadcast": _broadcast,
    "plain": _plain,
}
KEYS = tuple(_TESTS)


def _pair(key: str, value: str) -> tuple[str, str]:
    source, arrow, target = (part.strip() for part in value.partition(">"))
    if not (source and arrow and target):
        raise _wrong(key, value, "A>B, with * for any")
    return source, target


def _is(name: str, found: tuple[str, ...], meaning: Callable[[str], frozenset[str]]) -> bool:
    return name == "*" or not meaning(name).isdisjoint(found)


def _any(key: str, value: str) -> bool:
    if value != "any":
        raise _wrong(key, value, "any")
    return True


def _number(key: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise _wrong(key, value, "a number") from None


def _truth(key: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise _wrong(key, value, "true or false")
    return value.lower() == "true"


def _one_of(key: str, value: str, known: Mapping[str, T]) -> T:
    if value not in known:
        raise _wrong(key, value, ", ".join((*known, "any")))
    return known[value]


def _wrong(key: str, value: str, remedy: str) -> WeftError:
    return WeftError(Kind.INVALID, f"'{value}' is no value of '{key}' in a packet pattern", remedy=f"use {remedy}")
