"""Unicast routes by one device, and the next hop to an address: as much of rtnetlink as a moved underlay needs.

A route as text: `192.168.34.0/24 via 192.168.33.254 metric 100`; `via` and `metric` where there is one.
uapi/linux/rtnetlink.h.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from weft.netlink import message as m
from weft.netlink.channel import Channel, NetlinkError, failure
from weft.netlink.links import Link

_NEWROUTE, _GETROUTE, _NEWNEIGH, _GETNEIGH = 24, 26, 28, 30
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_DST, _OIF, _GATEWAY, _PRIORITY = 1, 4, 5, 6
_MAIN, _UNICAST, _BY_KERNEL, _BY_STATIC, _UNIVERSE, _ON_LINK = 254, 1, 2, 4, 0, 253
_NDMSG = struct.Struct("=BxxxiHBB")  # family, ifindex, state, flags, type
_NDA_DST, _NDA_LLADDR, _NDA_FLAGS_EXT = 1, 2, 15
_UNKNOWN = 0x01 | 0x20 | 0x40  # NUD_INCOMPLETE, NUD_FAILED, NUD_NOARP
_NTF_USE, _NTF_EXT_MANAGED = 0x01, 0x01
_FAMILY = {4: 2, 6: 10}


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where a packet to `target` goes first: `address` is the target itself where it is on the link."""

    target: str
    address: str
    device: int


def of(channel: Channel, link: Link) -> tuple[str, ...]:
    """The routes of the main table that leave by a link and that its addresses do not bring by themselves."""
    found = []
    for family, width in ((2, 4), (10, 16)):
        body = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for answer in channel.dump(_GETROUTE, body):
            _, length, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(answer)
            attributes = m.parse(answer, _RTMSG.size)
            if (table, kind) != (_MAIN, _UNICAST) or protocol == _BY_KERNEL:
                continue
            if m.to_int(attributes.get(_OIF)) == link.index:
                found.append(_text(attributes, length, width))
    return tuple(found)


def _text(attributes: m.Attributes, length: int, width: int) -> str:
    text = f"{ipaddress.ip_address(attributes.get(_DST, bytes(width)))}/{length}"
    if gateway := attributes.get(_GATEWAY):
        text += f" via {ipaddress.ip_address(gateway)}"
    if metric := m.to_int(attributes.get(_PRIORITY)):
        text += f" metric {metric}"
    return text


def add(channel: Channel, link: Link, route: str) -> None:
    """Raises FAILED; a route that is there already is none."""
    destination, *rest = route.split()
    told = dict(zip(rest[::2], rest[1::2], strict=False))
    network = ipaddress.ip_network(destination)
    scope = _UNIVERSE if "via" in told or network.version == 6 else _ON_LINK
    body = _RTMSG.pack(_FAMILY[network.version], network.prefixlen, 0, 0, _MAIN, _BY_STATIC, scope, _UNICAST, 0)
    if network.prefixlen:
        body += m.attribute(_DST, network.network_address.packed)
    body += m.u32(_OIF, link.index)
    if "via" in told:
        body += m.attribute(_GATEWAY, ipaddress.ip_address(told["via"]).packed)
    if "metric" in told:
        body += m.u32(_PRIORITY, int(told["metric"]))
    try:
        channel.request(_NEWROUTE, m.NLM_F_CREATE | m.NLM_F_REPLACE, body)
    except NetlinkError as error:
        raise failure(error, link.name, f"add route {route}") from error


def next_hop(channel: Channel, target: str) -> NextHop | None:
    """None where no route leads there."""
    address = ipaddress.ip_address(target)
    body = _RTMSG.pack(_FAMILY[address.version], 8 * len(address.packed), 0, 0, 0, 0, 0, 0, 0)
    try:
        answer = channel.get(_GETROUTE, body + m.attribute(_DST, address.packed))
    except NetlinkError:
        return None
    if answer is None:
        return None
    attributes = m.parse(answer, _RTMSG.size)
    gateway = attributes.get(_GATEWAY)
    via = str(ipaddress.ip_address(gateway)) if gateway else target
    return NextHop(target, via, m.to_int(attributes.get(_OIF)))


def neighbors(channel: Channel, link: Link) -> dict[str, str]:
    """IP → MAC of the neighbors that the kernel knows on a link."""
    answers = channel.dump(_GETNEIGH, _NDMSG.pack(0, 0, 0, 0, 0))
    return dict(found for answer in answers if (found := neighbor(answer, link.index)))


def neighbor(body: bytes, index: int) -> tuple[str, str] | None:
    """(IP, MAC) out of a neighbor message, None where it is about another device or the MAC is not known."""
    family, device, state, _, _ = _NDMSG.unpack_from(body)
    attributes = m.parse(body, _NDMSG.size)
    address, mac = attributes.get(_NDA_DST), attributes.get(_NDA_LLADDR)
    if device != index or family not in _FAMILY.values() or not address or not mac or state & _UNKNOWN:
        return None
    return str(ipaddress.ip_address(address)), mac.hex(":")


def keep_resolved(channel: Channel, hop: NextHop) -> None:
    """The kernel resolves a neighbor now, and goes on asking after it (NTF_EXT_MANAGED, Linux 5.16); else once."""
    address = ipaddress.ip_address(hop.address)
    body = _NDMSG.pack(_FAMILY[address.version], hop.device, 0, 0, 0) + m.attribute(_NDA_DST, address.packed)
    try:
        channel.request(_NEWNEIGH, m.NLM_F_CREATE | m.NLM_F_REPLACE, body + m.u32(_NDA_FLAGS_EXT, _NTF_EXT_MANAGED))
    except NetlinkError:
        used = _NDMSG.pack(_FAMILY[address.version], hop.device, 0, _NTF_USE, 0) + m.attribute(_NDA_DST, address.packed)
        try:
            channel.request(_NEWNEIGH, m.NLM_F_CREATE | m.NLM_F_REPLACE, used)
        except NetlinkError as error:
            raise failure(error, hop.address, "resolve it") from error
