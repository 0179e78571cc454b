"""ARP and ND on behalf of remote hosts (RFC 826; RFC 4861 section 7.2; the kernel's net/bridge/br_arp_nd_proxy.c).

A request whose target is in the neighbor table is answered here and never enters a tunnel. Probes for duplicates and
announcements (RFC 5227, RFC 4862 section 5.4) are never answered: they ask nobody for a MAC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weft.wire import arp, nd
from weft.wire.checksum import PseudoHeader
from weft.wire.errors import WireError
from weft.wire.ethernet import ARP, IPV6, Ethernet
from weft.wire.icmpv6 import Icmpv6
from weft.wire.ip import ICMPV6
from weft.wire.ipv6 import IPv6
from weft.wire.packet import Packet, dissect

_ND_FIRST, _ND_LAST = nd.ROUTER_SOLICITATION, 137  # to redirect
_ICMPV6_AT = 14 + 40


@dataclass(frozen=True, slots=True)
class Resolution:
    """`kind`: "arp" or "nd". `target`: the address asked for, None where nobody is asked. `reply` makes the answer."""

    kind: str
    target: str | None = None
    reply: Callable[[str], bytes] | None = None


def resolution(frame: bytes) -> Resolution | None:
    """What a frame has to do with address resolution; None if nothing."""
    try:
        packet = dissect(frame)
    except WireError:
        return None
    if packet.arp:
        return _arp(packet, packet.arp)
    if packet.icmpv6 and _ND_FIRST <= packet.icmpv6.type <= _ND_LAST:
        return _nd(packet, packet.icmpv6)
    return None


def may_be(frame: bytes | bytearray | memoryview) -> bool:
    """Cheap and generous: keeps the codecs away from what is surely data."""
    first, second = frame[12], frame[13]
    if first == 0x86 and len(frame) > _ICMPV6_AT:
        if frame[20] == ICMPV6:
            return _ND_FIRST <= frame[_ICMPV6_AT] <= _ND_LAST
        return frame[20] in (0, 43, 60)  # behind an extension header
    return (first, second) in ((0x08, 0x06), (0x81, 0x00), (0x88, 0xA8))


def is_arp(frame: bytes | bytearray | memoryview) -> bool:
    """Whether a frame is ARP, behind VLAN tags too."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    return frame[at : at + 2] == b"\x08\x06"


def parties(frame: bytes) -> frozenset[str]:
    """The addresses that an ARP or ND frame speaks for and about; of any other frame none."""
    try:
        packet = dissect(frame)
    except WireError:
        return frozenset()
    if packet.arp:
        return frozenset((packet.arp.sender_ip, packet.arp.target_ip))
    if packet.icmpv6 and packet.ip and _ND_FIRST <= packet.icmpv6.type <= _ND_LAST:
        target = getattr(packet.nd, "target", "")
        return frozenset((packet.ip.src, target or packet.ip.src))
    return frozenset()


def _arp(packet: Packet, question: arp.Arp) -> Resolution:
    ethernet = packet.ethernet
    if question.operation != arp.REQUEST or question.probe or question.gratuitous or ethernet is None:
        return Resolution("arp")

    def reply(mac: str) -> bytes:
        header = Ethernet(question.sender_mac, mac, ARP, ethernet.tags)
        return header.encode(arp.reply(question, mac).encode())

    return Resolution("arp", question.target_ip, reply)


def _nd(packet: Packet, message: Icmpv6) -> Resolution:
    question, ip, ethernet = packet.nd, packet.ip, packet.ethernet
    asks = isinstance(question, nd.NeighborSolicitation) and isinstance(ip, IPv6) and ip.hop_limit == 255
    if not asks or ip is None or ip.src == "::" or ethernet is None:
        return Resolution("nd")
    target = question.target  # type: ignore[union-attr]
    asker = question.source_link or ethernet.src  # type: ignore[union-attr]

    def reply(mac: str) -> bytes:
        pseudo = PseudoHeader(target, ip.src)
        link = nd.link_option(nd.TARGET_LINK, mac)
        answer = nd.NeighborAdvertisement(target=target, override=True, options=(link,)).encode(pseudo)
        packet = IPv6(target, ip.src, ICMPV6, hop_limit=255).encode(answer)
        return Ethernet(asker, mac, IPV6, ethernet.tags).encode(packet)

    return Resolution("nd", target, reply)
