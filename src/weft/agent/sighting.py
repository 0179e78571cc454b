"""What a frame of a local port says of who is there, and the frames that ask whether somebody still is.

Learned from: ARP's sender (RFC 826), the source of a neighbor solicitation and the target of an advertisement
(RFC 4861 sections 7.1 and 7.2), any frame's source MAC. Not learned from: probes for duplicates, whose sender does not
own the address yet (RFC 5227 section 2.1.1, RFC 4862 section 5.4); messages that name another MAC than the frame's
source, which may be a lie and at best are somebody else's news.
"""

from __future__ import annotations

from typing import NamedTuple

from weft.l2.datapath import Heard, Punted
from weft.model.address import is_ipv6
from weft.model.network import SegmentKey
from weft.wire import arp, ethernet, ip, nd
from weft.wire.address import ip_text
from weft.wire.errors import WireError
from weft.wire.ethernet import Ethernet
from weft.wire.ipv6 import IPv6
from weft.wire.packet import Packet, dissect

_HOP_LIMIT = 255  # RFC 4861 section 7.1: anything less has come through a router


class Sighting(NamedTuple):
    """This MAC, with this IP if it told one, is behind this local port. `gone`: it has fallen silent. `fresh` False:
    it is remembered there, which says nothing against a sighting elsewhere."""

    key: SegmentKey
    mac: str
    port: str
    ip: str | None = None
    gone: bool = False
    fresh: bool = True


class Probe(NamedTuple):
    """Ask this MAC behind this port whether it still has this IP."""

    key: SegmentKey
    port: str
    mac: str
    ip: str


def sighting(punted: Punted | Heard) -> Sighting | None:
    """What was seen; None for what is no local port's, tagged or no frame at all."""
    if isinstance(punted, Heard):
        return Sighting(punted.segment, punted.mac, punted.port, gone=punted.gone, fresh=punted.fresh)
    if punted.port is None:
        return None
    try:
        packet = dissect(punted.frame)
    except WireError:
        return None
    if packet.ethernet is None or packet.ethernet.tags:
        return None
    return Sighting(punted.segment, packet.ethernet.src, punted.port, _address(packet, packet.ethernet.src))


def _address(packet: Packet, mac: str) -> str | None:
    if packet.arp:
        return packet.arp.sender_ip if packet.arp.sender_mac == mac and not packet.arp.probe else None
    header, message = packet.ip, packet.nd
    if not isinstance(header, IPv6) or header.hop_limit != _HOP_LIMIT:
        return None
    if isinstance(message, nd.NeighborAdvertisement):
        return message.target if message.target_link in (mac, None) else None
    if isinstance(message, nd.NeighborSolicitation) and header.src != "::":
        return header.src if message.source_link in (mac, None) else None
    return None


def tentative(punted: Punted | Heard) -> Probe | None:
    """What to ask once a host has probed for duplicates of an address (RFC 4862 section 5.4): it says nothing more of
    it by itself, and may have it a second later."""
    if isinstance(punted, Heard) or punted.port is None:
        return None
    try:
        packet = dissect(punted.frame)
    except WireError:
        return None
    header, message = packet.ip, packet.nd
    if packet.ethernet is None or packet.ethernet.tags or not isinstance(message, nd.NeighborSolicitation):
        return None
    if not isinstance(header, IPv6) or header.src != "::" or header.hop_limit != _HOP_LIMIT:
        return None
    if message.target.startswith("fe80:"):  # nobody routes to it
        return None
    return Probe(punted.segment, punted.port, packet.ethernet.src, message.target)


def question(probe: Probe, speaker: str) -> bytes:
    """The frame that asks, to the host alone. `speaker`: the MAC to answer to.

    IPv4: an ARP request without a sender address, which changes nobody's tables. IPv6: a solicitation from the link-
    local address that belongs to the speaker's MAC, since one without would be answered to everybody.
    """
    if not is_ipv6(probe.ip):
        body = arp.request(speaker, "0.0.0.0", probe.ip).encode()
        return Ethernet(probe.mac, speaker, ethernet.ARP).encode(body)
    header = IPv6(src=_link_local(speaker), dst=probe.ip, protocol=ip.ICMPV6, hop_limit=_HOP_LIMIT)
    link = nd.link_option(nd.SOURCE_LINK, speaker)
    body = nd.NeighborSolicitation(target=probe.ip, options=(link,)).encode(header.pseudo())
    return Ethernet(probe.mac, speaker, ethernet.IPV6).encode(header.encode(body))


def _link_local(mac: str) -> str:
    """RFC 4291 appendix A: the modified EUI-64 of a MAC behind fe80::/64."""
    octets = bytes.fromhex(mac.replace(":", ""))
    eui = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return ip_text(bytes.fromhex("fe80000000000000") + eui)
