"""Which way the kernel's routes lead: to one address, and by default (rtnetlink(7), RTM_GETROUTE)."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from weft.netlink import message as m
from weft.netlink import route as r
from weft.netlink.channel import Channel, NetlinkError, failure

_DST, _OIF, _GATEWAY, _PRIORITY, _PREFSRC = 1, 4, 5, 6, 7
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_LOCAL = 2  # RTN_LOCAL


@dataclass(frozen=True, slots=True)
class Way:
    """`gateway` None: the address is on the device's link. `local`: it is this host's own."""

    index: int
    gateway: IPv4Address | IPv6Address | None
    source: IPv4Address | IPv6Address | None
    local: bool


def way(channel: Channel, target: IPv4Address | IPv6Address) -> Way | None:
    """None where no route leads there."""
    body = r.RTMSG.pack(_FAMILY[target.version], target.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    try:
        answer = channel.get(r.RTM_GETROUTE, body + m.attribute(_DST, target.packed))
    except NetlinkError:  # no route, or one that says unreachable
        return None
    if answer is None:
        return None
    found = m.parse(answer, r.RTMSG.size)
    gateway, source = found.get(_GATEWAY), found.get(_PREFSRC)
    kind = r.RTMSG.unpack_from(answer)[7]
    return Way(
        m.to_int(found.get(_OIF)),
        ip_address(gateway) if gateway else None,
        ip_address(source) if source else None,
        kind == _LOCAL,
    )


def default_device(channel: Channel, version: int) -> int | None:
    """The index of the device that the best default route leads out by; None without one."""
    try:
        bodies = channel.dump(r.RTM_GETROUTE, r.RTMSG.pack(_FAMILY[version], 0, 0, 0, r.MAIN, 0, 0, 0, 0))
    except NetlinkError as error:
        raise failure(error, "routes", "read routes") from error
    found = []
    for body in bodies:
        attributes = m.parse(body, r.RTMSG.size)
        if body[1] == 0 and _OIF in attributes and body[7] == r.UNICAST:
            found.append((m.to_int(attributes.get(_PRIORITY)), m.to_int(attributes[_OIF])))
    return min(found)[1] if found else None
