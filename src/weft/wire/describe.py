"""One line a person reads for a packet: outside in, a bar before each inner frame.

    192.168.33.12 > 239.1.1.1 udp 45012>4789 ttl 1 vxlan vni 1 | 0e:53:… > broadcast arp request who-has 10.1.1.3 …

MACs are shown where they matter: in the overlay, and where there is no IP.
"""

from __future__ import annotations

from weft.wire import icmp, icmpv6, igmp, ip, nd
from weft.wire.address import BROADCAST
from weft.wire.arp import REPLY, REQUEST, Arp
from weft.wire.errors import WireError
from weft.wire.ethernet import Ethernet
from weft.wire.packet import Packet
from weft.wire.quote import Quote

_PROTOCOLS = {ip.ICMP: "icmp", ip.IGMP: "igmp", ip.TCP: "tcp", ip.UDP: "udp", ip.ICMPV6: "icmpv6"}
_ICMP = {
    icmp.ECHO_REPLY: "echo reply",
    icmp.UNREACHABLE: "unreachable",
    icmp.REDIRECT: "redirect",
    icmp.ECHO_REQUEST: "echo request",
    icmp.TIME_EXCEEDED: "time exceeded",
    icmp.PARAMETER_PROBLEM: "parameter problem",
}
_UNREACHABLE = {0: "net", 1: "host", 2: "protocol", 3: "port", 4: "too big", 13: "prohibited"}
_ICMPV6 = {
    icmpv6.UNREACHABLE: "unreachable",
    icmpv6.PACKET_TOO_BIG: "too big",
    icmpv6.TIME_EXCEEDED: "time exceeded",
    icmpv6.PARAMETER_PROBLEM: "parameter problem",
    icmpv6.ECHO_REQUEST: "echo request",
    icmpv6.ECHO_REPLY: "echo reply",
}
_UNREACHABLE_V6 = {0: "route", 1: "prohibited", 3: "address", 4: "port"}
_MLD = {
    icmpv6.MLD_QUERY: "query",
    icmpv6.MLD_REPORT: "v1 report",
    icmpv6.MLD_DONE: "done",
    icmpv6.MLD2_REPORT: "v2 report",
}
_IGMP = {
    igmp.QUERY: "query",
    igmp.REPORT_V1: "v1 report",
    igmp.REPORT_V2: "v2 report",
    igmp.LEAVE: "leave",
    igmp.REPORT_V3: "v3 report",
}


def describe(packet: Packet) -> str:
    """`packet` on one line, without a line end; damage is named last."""
    levels = [packet]
    while inner := levels[-1].inner:
        levels.append(inner)
    line = " | ".join(_level(each, inner=index > 0) for index, each in enumerate(levels))
    return f"{line} (damaged: {packet.error})" if packet.error else line


def _level(packet: Packet, *, inner: bool) -> str:
    words = []
    if packet.ethernet:
        if inner or not packet.ip:
            words.append(f"{_mac(packet.ethernet.src)} > {_mac(packet.ethernet.dst)}")
        words += [f"vlan {tag.vid}" for tag in packet.ethernet.tags]
    if packet.arp:
        words.append(_arp(packet.arp))
    elif packet.ip:
        words.append(_ip(packet))
    elif packet.ethernet:
        words.append(_other(packet.ethernet, len(packet.payload)))
    else:
        words.append(f"{len(packet.payload)} bytes")
    if packet.vxlan:
        words.append(f"vxlan vni {packet.vxlan.vni}")
    return " ".join(words)


def _mac(mac: str) -> str:
    return "broadcast" if mac == BROADCAST else mac


def _other(header: Ethernet, size: int) -> str:
    kind = f"ethertype {header.ethertype:#06x}" if header.ethertype >= 0x600 else "802.3"
    return f"{kind} {size} bytes"


def _arp(arp: Arp) -> str:
    if arp.probe:
        return f"arp probe who-has {arp.target_ip}"
    if arp.gratuitous:
        return f"arp announcement {arp.sender_ip} is-at {arp.sender_mac}"
    if arp.operation == REQUEST:
        return f"arp request who-has {arp.target_ip} tell {arp.sender_ip}"
    if arp.operation == REPLY:
        return f"arp reply {arp.sender_ip} is-at {arp.sender_mac}"
    return f"arp operation {arp.operation}"


def _ip(packet: Packet) -> str:
    header = packet.ip
    assert header is not None
    text = f"{header.src} > {header.dst} {_upper(packet)} ttl {header.ttl}"
    if packet.icmp and packet.icmp.type in icmp.ERRORS:
        return text + _quote(packet.payload)
    if packet.icmpv6 and packet.icmpv6.type in icmpv6.ERRORS:
        return text + _quote(packet.payload)
    if packet.inner or packet.vxlan or not (packet.udp or packet.tcp):
        return text
    return f"{text} {len(packet.payload)} bytes"


def _upper(packet: Packet) -> str:
    """The upper layer in words, before the TTL."""
    if packet.udp:
        return f"udp {packet.udp.src_port}>{packet.udp.dst_port}"
    if packet.tcp:
        tcp = packet.tcp
        flags = " ".join(tcp.flag_names) or "no flags"
        return f"tcp {tcp.src_port}>{tcp.dst_port} [{flags}] seq {tcp.seq} ack {tcp.ack} window {tcp.window}"
    if packet.icmp:
        return f"icmp {_message(packet.icmp, _ICMP, _UNREACHABLE, icmp.UNREACHABLE)}"
    if packet.nd:
        return f"nd {_nd(packet.nd)}"
    if packet.icmpv6:
        if packet.icmpv6.type in icmpv6.MLD:
            return " ".join(("mld", _MLD[packet.icmpv6.type], *icmpv6.groups(packet.icmpv6, packet.payload)))
        return f"icmpv6 {_message(packet.icmpv6, _ICMPV6, _UNREACHABLE_V6, icmpv6.UNREACHABLE)}"
    if packet.igmp:
        kind = _IGMP.get(packet.igmp.type, f"type {packet.igmp.type}")
        return " ".join(("igmp", kind, *igmp.groups(packet.igmp, packet.payload)))
    assert packet.ip is not None
    name = _PROTOCOLS.get(packet.ip.protocol, f"protocol {packet.ip.protocol}")
    if packet.ip.fragment:
        return f"{name} fragment {packet.ip.fragment_offset}+{len(packet.payload)}"
    return name


def _message(
    header: icmp.Icmp | icmpv6.Icmpv6, names: dict[int, str], unreachable: dict[int, str], unreachable_type: int
) -> str:
    name = names.get(header.type, f"type {header.type} code {header.code}")
    if name.startswith("echo"):
        return f"{name} id {header.ident} seq {header.seq}"
    if header.type == unreachable_type:
        name += f" {unreachable.get(header.code, f'code {header.code}')}"
    return f"{name} mtu {header.mtu}" if header.mtu else name


def _quote(data: bytes) -> str:
    """The packet an error is about, or nothing where it cannot be read."""
    try:
        quote, _ = Quote.decode(data)
    except WireError:
        return ""
    text = f" about {quote.src} > {quote.dst} {_PROTOCOLS.get(quote.protocol, f'protocol {quote.protocol}')}"
    if quote.src_port is not None:
        return f"{text} {quote.src_port}>{quote.dst_port}"
    return text if quote.ident is None else f"{text} id {quote.ident} seq {quote.seq}"


def _nd(message: nd.NeighborDiscovery) -> str:
    if isinstance(message, nd.NeighborSolicitation):
        return f"solicitation who-has {message.target}"
    if isinstance(message, nd.NeighborAdvertisement):
        link = f" is-at {message.target_link}" if message.target_link else ""
        return f"advertisement {message.target}{link}"
    if isinstance(message, nd.RouterAdvertisement):
        return f"router advertisement lifetime {message.lifetime}"
    return "router solicitation"
