"""The captures of real systems (Linux, flannel, Open vSwitch), copied beside these tests, and packets of every kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from weft.wire import arp, icmp, icmpv6, igmp, nd, pcapng, tcp
from weft.wire.checksum import PseudoHeader
from weft.wire.ethernet import ARP, IPV4, IPV6, Ethernet, Tag
from weft.wire.icmp import Icmp
from weft.wire.icmpv6 import Icmpv6
from weft.wire.igmp import Igmp
from weft.wire.ip import TCP
from weft.wire.ipv4 import IPv4
from weft.wire.ipv6 import Extension, IPv6
from weft.wire.tcp import Tcp
from weft.wire.udp import Udp
from weft.wire.vxlan import Vxlan

CAPTURES = sorted((Path(__file__).parent / "captures").glob("*.pcap"))

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
V4 = PseudoHeader("10.1.1.11", "10.1.1.12")
V6 = PseudoHeader("fd00::a", "fd00::b")


def frames_of(path: Path) -> list[bytes]:
    return [record.frame for record in pcapng.read(path.read_bytes()).records]


def v4(protocol: int, upper: bytes, *tags: Tag) -> bytes:
    return Ethernet(B, A, IPV4, tags).encode(IPv4(V4.src, V4.dst, protocol, identification=7).encode(upper))


def v6(protocol: int, upper: bytes, *extensions: Extension, hop_limit: int = 255) -> bytes:
    header = IPv6(V6.src, V6.dst, protocol, hop_limit, flow_label=0xABCDE, extensions=extensions)
    return Ethernet(B, A, IPV6).encode(header.encode(upper))


def built_frames() -> list[bytes]:
    """One frame of every kind the codecs know and the captures lack."""
    syn = Tcp(443, 50000, 1, 2, tcp.SYN | tcp.ACK | tcp.ECE, 64240, options=b"\x02\x04\x05\xb4")
    echo4, echo6 = icmp.echo_request(77, 3, b"ping"), icmpv6.echo_request(77, 3, b"ping", V6)
    quoted4, quoted6 = IPv4(V4.src, V4.dst, 1).encode(echo4), IPv6(V6.src, V6.dst, 58).encode(echo6)
    link = nd.link_option(nd.SOURCE_LINK, A)
    padding = Extension(0, b"\x00\x01\x04\x00\x00\x00\x00")
    inner = v4(17, Udp(53, 5353).encode(b"x", V4), Tag(100, 5))
    datagram = Udp(40000, 4789).encode(Vxlan(0xABCDEF).encode(inner))
    return [
        Ethernet("ff:ff:ff:ff:ff:ff", A, ARP).encode(arp.request(A, V4.src, V4.dst).encode(bytes(18))),
        v4(6, syn.encode(b"", V4)),
        v4(6, Tcp(1, 2, 3, 4, tcp.PSH | tcp.ACK, 5).encode(b"odd", V4), Tag(10), Tag(20, 7, True)),
        v4(17, Udp(1000, 2000).encode(b"hello", V4)),
        v4(1, echo4),
        v4(1, Icmp(icmp.UNREACHABLE, 1).encode(quoted4[:28])),
        v4(1, Icmp(icmp.UNREACHABLE, 4, 1450).encode(quoted4)),
        v4(1, Icmp(icmp.TIME_EXCEEDED, 0).encode(quoted4)),
        v4(2, Igmp(igmp.REPORT_V2, 0, "239.1.1.1").encode()),
        v4(2, Igmp(igmp.REPORT_V3, 0, "0.0.0.1").encode(b"\x04\0\0\0\xef\x01\x01\x02")),
        v4(17, datagram),
        v6(6, syn.encode(b"data", V6)),
        v6(17, Udp(1000, 2000).encode(b"hello", V6), padding),
        v6(17, Udp(40000, 8472).encode(Vxlan(1).encode(inner), V6)),
        v6(58, echo6),
        v6(58, Icmpv6(icmpv6.UNREACHABLE, 4).encode(quoted6, V6)),
        v6(58, Icmpv6(icmpv6.PACKET_TOO_BIG, 0, 1430).encode(quoted6, V6)),
        v6(58, Icmpv6(icmpv6.TIME_EXCEEDED, 0).encode(quoted6, V6)),
        v6(58, nd.NeighborSolicitation(target=V6.dst, options=(link,)).encode(V6)),
        v6(58, nd.NeighborAdvertisement(target=V6.src, router=True, options=(nd.link_option(2, A),)).encode(V6)),
        v6(58, nd.RouterSolicitation(options=(link,)).encode(V6)),
        v6(58, nd.RouterAdvertisement(lifetime=1800, reachable=1, retransmit=2, options=(link,)).encode(V6)),
    ]


def zero_sum(twin: bool) -> bytes:
    """A pure TCP ACK whose checksum is zero, written 0, or as its twin 0xffff, which is right as well (RFC 1071)."""
    header = Tcp(5001, 42777, 1, 2, tcp.ACK, 0)
    left = int.from_bytes(header.encode(b"", V4)[16:18], "big")
    upper = bytearray(replace(header, window=left).encode(b"", V4))
    assert upper[16:18] == b"\0\0"
    if twin:
        upper[16:18] = b"\xff\xff"
    return v4(TCP, bytes(upper))
