"""A gateway that moved here says so: gratuitous ARP (RFC 5227 section 3), unsolicited NA (RFC 4861 section 7.2.6).

Where it kept its MAC, switches that learn must know, VTEPs among them; where it has another one, hosts must. An anycast
gateway speaks to local ports only: what bears its MAC enters no tunnel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from weft.l3.inside import RouterHost
from weft.model.address import is_ipv6
from weft.plan.router import Irb, anycast_device
from weft.wire import arp, ethernet, ipv6, nd
from weft.wire.address import BROADCAST, ZERO_MAC, multicast_mac
from weft.wire.checksum import PseudoHeader


def announce(host: RouterHost, router: str, interfaces: Iterable[Irb]) -> None:
    """One frame for each gateway address of these interfaces of a router. What cannot be sent is left: it is tried
    again, or hosts ask in the end."""
    if (inside := host.find(router)) is None:
        return
    for irb in interfaces:
        device = anycast_device(irb.segment) if irb.anycast else irb.device
        for text in irb.addresses:
            with contextlib.suppress(OSError):
                inside.raw.sendto(_frame(irb.anycast or irb.mac, text.partition("/")[0]), (device, 0))


_ALL_NODES = "ff02::1"
_ICMPV6 = 58


def _frame(mac: str, ip: str) -> bytes:
    if not is_ipv6(ip):
        told = arp.Arp(arp.REQUEST, mac, ip, ZERO_MAC, ip).encode()
        return ethernet.Ethernet(BROADCAST, mac, ethernet.ARP).encode(told)
    option = nd.link_option(nd.TARGET_LINK, mac)
    message = nd.NeighborAdvertisement(target=ip, router=True, solicited=False, options=(option,))
    told = message.encode(PseudoHeader(ip, _ALL_NODES))
    packet = ipv6.IPv6(src=ip, dst=_ALL_NODES, protocol=_ICMPV6, hop_limit=255).encode(told)
    return ethernet.Ethernet(multicast_mac(_ALL_NODES), mac, ethernet.IPV6).encode(packet)
