"""A whole frame: its layers, and the frame inside it where it is VXLAN.

`dissect` goes on as far as the bytes carry it. Each step takes a packet whose `payload` is not decoded yet and gives
it back one layer deeper; a step that fails leaves the packet as it was and records the error. The outer layers of a
damaged packet therefore always stand. Fragments are not reassembled: their payload stays raw.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from weft.wire import ethernet, ip, nd
from weft.wire.arp import Arp
from weft.wire.errors import WireError, need
from weft.wire.ethernet import Ethernet
from weft.wire.icmp import Icmp
from weft.wire.icmpv6 import Icmpv6
from weft.wire.igmp import Igmp
from weft.wire.ipv4 import IPv4
from weft.wire.ipv6 import IPv6
from weft.wire.tcp import Tcp
from weft.wire.udp import Udp
from weft.wire.vxlan import FLANNEL_PORT, PORT, Vxlan

VXLAN_PORTS = frozenset({PORT, FLANNEL_PORT})
IP_PORTS = frozenset({8285})  # flannel's udp backend: a bare IP packet in UDP
DEPTH = 8  # frames within frames; an attacker's next one is not worth a stack


@dataclass(frozen=True, slots=True)
class Packet:
    """What was found, from the outside in; layers that are not there are None.

    `ethernet` is None only for bare IP packets and for frames whose VLAN tag is cut off. `payload` is what follows the
    last decoded header (of a tunnel: the inner frame, decoded as `inner`), `trailer` the padding behind an IP or ARP
    packet. `truncated` tells that a header states more bytes than are there. `error` is empty, or the first thing found
    wrong here or in `inner`, bytes counted in the outermost frame.
    """

    ethernet: Ethernet | None = None
    arp: Arp | None = None
    ip: IPv4 | IPv6 | None = None
    udp: Udp | None = None
    tcp: Tcp | None = None
    icmp: Icmp | None = None
    icmpv6: Icmpv6 | None = None
    nd: nd.NeighborDiscovery | None = None
    igmp: Igmp | None = None
    vxlan: Vxlan | None = None
    inner: Packet | None = None
    payload: bytes = b""
    trailer: bytes = b""
    truncated: bool = False
    error: str = ""

    @property
    def innermost(self) -> Packet:
        """The packet that no other one is in."""
        return self.inner.innermost if self.inner else self

    def encode(self) -> bytes:
        """The frame, lengths and checksums computed anew from the headers; UDP checksums of 0 stay 0."""
        packet = self.segment()
        if self.arp:
            packet = self.arp.encode(packet)
        if self.ip:
            packet = self.ip.encode(packet)
        packet += self.trailer
        return self.ethernet.encode(packet) if self.ethernet else packet

    def segment(self) -> bytes:
        """The upper-layer packet, or the payload where no upper layer was decoded."""
        body = self.vxlan.encode(self.payload) if self.vxlan else self.payload
        pseudo = self.ip.pseudo() if self.ip else None
        if self.udp:
            return self.udp.encode(body, pseudo if self.udp.checksum else None)
        if self.icmp or self.igmp:
            return (self.icmp or self.igmp).encode(body)  # type: ignore[union-attr]
        if pseudo and (self.tcp or self.icmpv6):
            return (self.tcp or self.icmpv6).encode(body, pseudo)  # type: ignore[union-attr]
        return body


def dissect(frame: bytes, vxlan_ports: Collection[int] = VXLAN_PORTS, ip_ports: Collection[int] = IP_PORTS) -> Packet:
    """Decodes an Ethernet frame and the frames inside it.

    A UDP destination port among `vxlan_ports` means VXLAN, one among `ip_ports` a bare IP packet. Raises WireError for
    fewer than 14 bytes; everything else gives a packet, with `error` where it is damaged. Checksums are not judged.
    """
    need("ethernet", frame, 14)
    return _frame(frame, 0, _Rules(vxlan_ports, ip_ports, DEPTH))


def dissect_ip(data: bytes, vxlan_ports: Collection[int] = VXLAN_PORTS, ip_ports: Collection[int] = IP_PORTS) -> Packet:
    """Decodes a bare IP packet, as a TUN device gives it; never raises."""
    return _attempt(_ip, Packet(payload=data), 0, _Rules(vxlan_ports, ip_ports, DEPTH))


@dataclass(frozen=True, slots=True)
class _Rules:
    vxlan_ports: Collection[int]
    ip_ports: Collection[int]
    depth: int

    def deeper(self) -> _Rules:
        return replace(self, depth=self.depth - 1)


_Step = Callable[[Packet, int, _Rules], Packet]


def _attempt(step: _Step, packet: Packet, base: int, rules: _Rules) -> Packet:
    """`packet` one step deeper, or as it was, with the error; its payload starts at byte `base` of the whole frame."""
    try:
        return step(packet, base, rules)
    except WireError as error:
        return _damaged(packet, error, base)


def _damaged(packet: Packet, error: WireError, base: int) -> Packet:
    return replace(packet, error=packet.error or str(error.moved(base)))


def _frame(data: bytes, base: int, rules: _Rules) -> Packet:
    try:
        header, rest = Ethernet.decode(data)
    except WireError as error:
        return _damaged(Packet(payload=data), error, base)
    return _attempt(_network, Packet(ethernet=header, payload=rest), base + header.header_length, rules)


def _network(packet: Packet, base: int, rules: _Rules) -> Packet:
    ethertype = packet.ethernet.ethertype if packet.ethernet else 0
    if ethertype == ethernet.ARP:
        arp, rest = Arp.decode(packet.payload)
        return replace(packet, arp=arp, payload=b"", trailer=rest)
    if ethertype in (ethernet.IPV4, ethernet.IPV6):
        need("ip", packet.payload, 1)
        version = 4 if ethertype == ethernet.IPV4 else 6
        if packet.payload[0] >> 4 != version:
            raise WireError(f"ipv{version}", 0, f"version {packet.payload[0] >> 4}, not {version}")
        return _ip(packet, base, rules)
    return packet


def _ip(packet: Packet, base: int, rules: _Rules) -> Packet:
    data = packet.payload
    header, rest = ip.decode(data, partial=True)
    packet = replace(packet, ip=header, payload=rest, trailer=data[header.packet_length :])
    packet = _whole("ip", packet, data, header.packet_length, base)
    step = _TRANSPORTS.get((type(header), header.protocol))
    if step is None or header.fragment:
        return packet
    return _attempt(step, packet, base + header.header_length, rules)


def _whole(protocol: str, packet: Packet, data: bytes, stated: int, base: int) -> Packet:
    """Records where `data` is shorter than its header states; what is there is still worth decoding."""
    if len(data) >= stated:
        return packet
    packet = replace(packet, truncated=True)
    return _damaged(packet, WireError(protocol, len(data), f"truncated: {len(data)} of {stated} bytes there"), base)


def _udp(packet: Packet, base: int, rules: _Rules) -> Packet:
    data = packet.payload
    udp, rest = Udp.decode(data, partial=True)
    packet = _whole("udp", replace(packet, udp=udp, payload=rest), data, udp.length, base)
    if udp.dst_port in rules.vxlan_ports:
        return _attempt(_vxlan, packet, base + 8, rules)
    if udp.dst_port in rules.ip_ports:
        return _within(_attempt(_ip, Packet(payload=rest), base + 8, rules.deeper()), packet)
    return packet


def _vxlan(packet: Packet, base: int, rules: _Rules) -> Packet:
    vxlan, rest = Vxlan.decode(packet.payload)
    packet = replace(packet, vxlan=vxlan, payload=rest)
    if not rules.depth:
        return _damaged(packet, WireError("vxlan", 8, f"more than {DEPTH} frames within frames"), base)
    return _within(_frame(rest, base + 8, rules.deeper()), packet)


def _within(inner: Packet, outer: Packet) -> Packet:
    return replace(outer, inner=inner, error=outer.error or inner.error)


def _tcp(packet: Packet, _base: int, _rules: _Rules) -> Packet:
    tcp, rest = Tcp.decode(packet.payload)
    return replace(packet, tcp=tcp, payload=rest)


def _icmp(packet: Packet, _base: int, _rules: _Rules) -> Packet:
    icmp, rest = Icmp.decode(packet.payload)
    return replace(packet, icmp=icmp, payload=rest)


def _igmp(packet: Packet, _base: int, _rules: _Rules) -> Packet:
    igmp, rest = Igmp.decode(packet.payload)
    return replace(packet, igmp=igmp, payload=rest)


def _icmpv6(packet: Packet, base: int, rules: _Rules) -> Packet:
    message = packet.payload
    icmpv6, rest = Icmpv6.decode(message)
    packet = replace(packet, icmpv6=icmpv6, payload=rest)
    try:
        return replace(packet, nd=nd.decode(message))
    except WireError as error:
        return _damaged(packet, error, base)


_TRANSPORTS: dict[tuple[type[IPv4] | type[IPv6], int], _Step] = {
    (IPv4, ip.UDP): _udp,
    (IPv6, ip.UDP): _udp,
    (IPv4, ip.TCP): _tcp,
    (IPv6, ip.TCP): _tcp,
    (IPv4, ip.ICMP): _icmp,
    (IPv4, ip.IGMP): _igmp,
    (IPv6, ip.ICMPV6): _icmpv6,
}
