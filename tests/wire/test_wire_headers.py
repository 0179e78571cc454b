"""Each codec alone: what it builds, what it refuses, and what scapy makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet, inet6, l2  # type: ignore[import-untyped]
from scapy.layers import vxlan as scapy_vxlan

from tests.wire.wire_frames import V4, V6, A, B, built_frames, v4, zero_sum
from weft.wire import arp, icmp, icmpv6, igmp, nd, tcp
from weft.wire.address import ip_text, ipv6_bytes, mac_bytes, mac_text, multicast_mac
from weft.wire.checksum import checksum
from weft.wire.describe import describe
from weft.wire.errors import WireError
from weft.wire.ethernet import Ethernet, Tag
from weft.wire.icmp import Answer, Icmp, Outcome
from weft.wire.icmpv6 import Icmpv6
from weft.wire.igmp import Igmp
from weft.wire.ipv4 import IPv4
from weft.wire.ipv6 import Extension, IPv6
from weft.wire.packet import dissect
from weft.wire.quote import Quote
from weft.wire.tcp import Tcp
from weft.wire.udp import Udp
from weft.wire.verify import wrong_checksums
from weft.wire.vxlan import Vxlan

u8, u16, u32 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32))
ipv4s = st.binary(min_size=4, max_size=4).map(ip_text)
ipv6s = st.binary(min_size=16, max_size=16).map(ip_text)
macs = st.binary(min_size=6, max_size=6).map(mac_text)
words = st.integers(0, 10).flatmap(lambda count: st.binary(min_size=count * 4, max_size=count * 4))
tags = st.builds(Tag, st.integers(0, 4095), st.integers(0, 7), st.booleans(), st.sampled_from((0x8100, 0x88A8)))


@given(st.binary(max_size=200))
def test_checksum_is_rfc_1071s(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(data) == total ^ 0xFFFF


@given(st.builds(Ethernet, macs, macs, st.integers(0, 0x80FF), st.lists(tags, max_size=3).map(tuple)), st.binary())
def test_ethernet_round_trip(header: Ethernet, payload: bytes) -> None:
    data = header.encode(payload)
    assert Ethernet.decode(data) == (header, payload)
    assert len(data) == header.header_length + len(payload)


@given(st.builds(arp.Arp, u16, macs, ipv4s, macs, ipv4s))
def test_arp_round_trip(value: arp.Arp) -> None:
    assert arp.Arp.decode(value.encode(b"pad")) == (value, b"pad")


@given(
    st.builds(
        IPv4,
        *(ipv4s, ipv4s, u8, u8, u8, u16, st.booleans(), st.booleans(), st.booleans()),
        st.integers(0, 8191).map(lambda units: units * 8),
        words,
    ),
    st.binary(max_size=50),
)
def test_ipv4_round_trip(header: IPv4, payload: bytes) -> None:
    data = header.encode(payload)
    assert checksum(data[: header.header_length]) == 0
    assert IPv4.decode(data + b"padding") == (header, payload)


@given(st.builds(IPv6, ipv6s, ipv6s, st.sampled_from((6, 17, 58, 59, 50, 255)), u8, u8), st.binary(max_size=50))
def test_ipv6_round_trip(header: IPv6, payload: bytes) -> None:
    chain = (Extension(0, b"\0" + bytes(6)), Extension(44, b"\0\0\1\0\0\0\7"), Extension(51, b"\4" + bytes(22)))
    for extensions in ((), chain[:1], chain[1:], chain):
        value = replace(header, extensions=extensions)
        assert IPv6.decode(value.encode(payload) + b"padding") == (value, payload)


@given(st.builds(Tcp, u16, u16, u32, u32, st.integers(0, 4095), u16, u16, words), st.binary(max_size=50))
def test_tcp_round_trip(header: Tcp, payload: bytes) -> None:
    data = header.encode(payload, V4)
    assert Tcp.decode(data) == (header, payload)
    assert V4.checksum(6, data) == 0


@given(u16, u16, st.binary(max_size=50))
def test_udp_round_trip(src: int, dst: int, payload: bytes) -> None:
    for pseudo in (V4, V6):
        data = Udp(src, dst).encode(payload, pseudo)
        assert Udp.decode(data) == (Udp(src, dst), payload)
        assert pseudo.checksum(17, data) == 0
        assert data[6:8] != b"\0\0"


options = st.lists(
    st.builds(nd.Option, u8, st.integers(1, 4).flatmap(lambda n: st.binary(min_size=n * 8 - 2, max_size=n * 8 - 2))),
    max_size=3,
).map(tuple)
messages = st.one_of(
    st.builds(nd.NeighborSolicitation, target=ipv6s, options=options),
    st.builds(
        nd.NeighborAdvertisement,
        target=ipv6s,
        router=st.booleans(),
        solicited=st.booleans(),
        override=st.booleans(),
        options=options,
    ),
    st.builds(nd.RouterSolicitation, options=options),
    st.builds(
        nd.RouterAdvertisement, hop_limit=u8, flags=u8, lifetime=u16, reachable=u32, retransmit=u32, options=options
    ),
)


@given(messages)
def test_neighbor_discovery_round_trip(message: nd.NeighborDiscovery) -> None:
    data = message.encode(V6)
    assert nd.decode(data) == message
    assert V6.checksum(58, data) == 0


def test_link_layer_options_are_told_apart() -> None:
    both = (nd.Option(14, bytes(6)), nd.link_option(nd.TARGET_LINK, B), nd.link_option(nd.SOURCE_LINK, A))
    message = nd.NeighborSolicitation(target=V6.dst, options=both)
    assert (message.source_link, message.target_link) == (A, B)
    assert nd.RouterAdvertisement(flags=0x80).managed
    assert not nd.RouterAdvertisement(flags=0x40).managed
    assert nd.decode(icmpv6.echo_request(1, 1, b"", V6)) is None


def test_udp_sends_a_zero_sum_as_its_twin() -> None:
    empty = Udp(0, 0).encode(b"\0\0", V4)
    missing = int.from_bytes(empty[6:8], "big")
    assert Udp(0, 0).encode(missing.to_bytes(2, "big"), V4)[6:8] == b"\xff\xff"


@given(st.integers(0, 2**24 - 1), st.binary(max_size=20), st.binary(min_size=4, max_size=4))
def test_vxlan_sends_zeros_and_ignores_the_rest(vni: int, frame: bytes, noise: bytes) -> None:
    data = Vxlan(vni).encode(frame)
    assert data[:4] + data[7:8] == b"\x08\0\0\0\0"
    noisy = bytes((noise[0] | 8,)) + noise[1:] + data[4:7] + b"\xff" + frame
    assert Vxlan.decode(data) == Vxlan.decode(noisy) == (Vxlan(vni), frame)


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: Vxlan(1 << 24).encode(), "vxlan at byte 4: VNI 16777216 does not fit 24 bits"),
    (lambda: Udp(70000, 1).encode(), "udp at byte 0: source port 70000 does not fit 16 bits"),
    (lambda: Udp(1, 1).encode(bytes(65528)), "udp at byte 4: length 65536 does not fit 16 bits"),
    (lambda: Ethernet("02:00:00:00:00:0A", A, 1).encode(), "is not a MAC; write it like 02:00:00:00:00:0a"),
    (lambda: Ethernet(A, B, 0x8100).encode(), "put it into tags"),
    (lambda: Ethernet(A, B, 1, (Tag(4096),)).encode(), "ethernet at byte 14: VLAN id 4096 does not fit 12 bits"),
    (lambda: Ethernet(A, B, 1, (Tag(1, tpid=1),)).encode(), "neither 802.1Q nor 802.1ad"),
    (lambda: IPv4("10.0.0.256", "10.0.0.1", 1).encode(), "ipv4 at byte 12: '10.0.0.256' is not an IPv4 address"),
    (lambda: IPv4("10.0.0.1", "10.0.0.1", 1, ttl=256).encode(), "ipv4 at byte 8: TTL 256 does not fit 8 bits"),
    (lambda: IPv4("10.0.0.1", "10.0.0.1", 1, options=b"1").encode(), "pad them to 4"),
    (lambda: IPv4("10.0.0.1", "10.0.0.1", 1, fragment_offset=4).encode(), "not a multiple of 8"),
    (lambda: IPv6("fe80::1%eth0", "::", 1).encode(), "carries a scope id"),
    (lambda: IPv6("::", "::", 0).encode(), "put it into extensions"),
    (lambda: IPv6("::", "::", 1, extensions=(Extension(0, b"\1"),)).encode(), "does not have the length it states"),
    (lambda: nd.RouterSolicitation(options=(nd.Option(1, b"1"),)).encode(V6), "pad it to 8"),
    (lambda: nd.NeighborSolicitation.decode(bytes((135, 0, 0, 0)) + bytes(20) + b"\1\0"), "option 1 has length 0"),
    (lambda: nd.NeighborSolicitation.decode(bytes((136, 0)) + bytes(22)), "type 136 code 0, not 135"),
    (lambda: icmp.echo_request(65536, 0), "icmp at byte 4: identifier 65536 does not fit 16 bits"),
    (lambda: Vxlan.decode(bytes(8)), "vxlan at byte 0: flags 0x00 lack 0x08"),
    (lambda: Udp.decode(bytes(7)), "udp at byte 7: truncated: 8 bytes needed from byte 0, 7 there"),
    (lambda: IPv4.decode(IPv6(V6.src, V6.dst, 6).encode()), "ipv4 at byte 0: version 6, not 4"),
    (lambda: IPv4.decode(IPv4(V4.src, V4.dst, 6).encode(b"payload")[:-1]), "ipv4 at byte 26: truncated: 27 bytes"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refusals_say_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(WireError) as caught:
        call()
    assert message in str(caught.value)


def test_addresses() -> None:
    assert mac_text(mac_bytes("b6:74:4d:de:7a:72")) == "b6:74:4d:de:7a:72"
    assert ip_text(ipv6_bytes("FD00:0:0::0A", "ipv6")) == "fd00::a"
    assert multicast_mac("239.129.1.2") == "01:00:5e:01:01:02"
    assert multicast_mac("ff02::1:ffa0:a0f5") == "33:33:ff:a0:a0:f5"
    assert nd.solicited_node("fe80::a8f9:12ff:fea0:a0f5") == "ff02::1:ffa0:a0f5"


def test_arp_kinds() -> None:
    question = arp.request(A, "10.1.1.11", "10.1.1.12")
    assert arp.reply(question, B) == arp.Arp(arp.REPLY, B, "10.1.1.12", A, "10.1.1.11")
    assert not question.gratuitous
    assert not question.probe
    assert arp.request(A, "0.0.0.0", "10.1.1.12").probe
    assert arp.request(A, "10.1.1.11", "10.1.1.11").gratuitous


def test_fragments_stay_raw() -> None:
    whole = Udp(1, 2).encode(bytes(100), V4)
    first = IPv4(V4.src, V4.dst, 17, more_fragments=True).encode(whole[:48])
    later = IPv4(V4.src, V4.dst, 17, fragment_offset=48).encode(whole[48:])
    lines = [describe(dissect(Ethernet(B, A, 0x0800).encode(packet))) for packet in (first, later)]
    assert lines == [
        "10.1.1.11 > 10.1.1.12 udp fragment 0+48 ttl 64",
        "10.1.1.11 > 10.1.1.12 udp fragment 48+60 ttl 64",
    ]


def test_ping_understands_its_answers() -> None:
    request4, request6 = icmp.echo_request(77, 3, b"ping"), icmpv6.echo_request(77, 3, b"ping", V6)
    quoted4 = IPv4(V4.src, V4.dst, 1).encode(request4)[:28]
    quoted6 = IPv6(V6.src, V6.dst, 58).encode(request6)[:48]
    big, expired, unreachable = Outcome.TOO_BIG, Outcome.TIME_EXCEEDED, Outcome.UNREACHABLE
    assert icmp.answer(Icmp(0, 0, 77 << 16 | 3).encode(b"ping")) == Answer(Outcome.REPLY, 77, 3, payload=b"ping")
    assert icmp.answer(Icmp(3, 1).encode(quoted4)) == Answer(unreachable, 77, 3, code=1)
    assert icmp.answer(Icmp(3, 4, 1450).encode(quoted4)) == Answer(big, 77, 3, code=4, mtu=1450)
    assert icmp.answer(Icmp(11, 0).encode(quoted4)) == Answer(expired, 77, 3)
    assert icmp.answer(request4) is None
    assert icmpv6.answer(Icmpv6(129, 0, 77 << 16 | 3).encode(b"x", V6)) == Answer(Outcome.REPLY, 77, 3, payload=b"x")
    assert icmpv6.answer(Icmpv6(1, 3).encode(quoted6, V6)) == Answer(unreachable, 77, 3, code=3)
    assert icmpv6.answer(Icmpv6(2, 0, 1430).encode(quoted6, V6)) == Answer(big, 77, 3, mtu=1430)
    assert icmpv6.answer(Icmpv6(3, 0).encode(quoted6, V6)) == Answer(expired, 77, 3)
    assert icmpv6.answer(request6) is None


def test_flannels_net_unreachable_quotes_the_datagram() -> None:
    # flannel's udp backend answering an unknown destination
    message = bytes.fromhex(
        "45000038000000000801f6b90a0654000a065400"
        "0300d19b00000000"
        "4500001fb0b04000401128080a0654000a06fa09dc76270f000b27d3"
    )
    packet = dissect(Ethernet(B, A, 0x0800).encode(message))
    assert wrong_checksums(packet) == ()
    quote = Quote("10.6.84.0", "10.6.250.9", 17, 56438, 9999)
    assert Quote.decode(packet.payload) == (quote, bytes.fromhex("dc76270f000b27d3"))
    assert icmp.answer(message[20:]) is None
    assert describe(packet) == (
        "10.6.84.0 > 10.6.84.0 icmp unreachable net ttl 8 about 10.6.84.0 > 10.6.250.9 udp 56438>9999"
    )


def test_wrong_checksums_are_named_by_layer() -> None:
    frame = bytearray(built_frames()[10])
    assert wrong_checksums(dissect(bytes(frame))) == ()
    frame[24] ^= 1  # outer IPv4 checksum
    frame[-1] ^= 1  # inner UDP payload; the outer UDP checksum is 0
    assert wrong_checksums(dissect(bytes(frame))) == ("ipv4", "inner udp")


def test_a_checksum_of_zero_is_right_in_both_writings() -> None:
    for frame in map(zero_sum, (False, True)):
        assert wrong_checksums(dissect(frame)) == ()
        assert wrong_checksums(dissect(frame[:50] + b"\0\1" + frame[52:])) == ("tcp",)
    header = bytearray(IPv4(V4.src, V4.dst, 6, identification=0).encode(b""))
    header[4:6] = header[10:12]
    header[10:12] = b"\xff\xff"
    assert wrong_checksums(dissect(Ethernet(B, A, 0x0800).encode(bytes(header)))) == ()


def test_a_truncated_datagram_is_not_called_wrong() -> None:
    packet = dissect(built_frames()[3][:-1])
    assert packet.truncated
    assert packet.udp == Udp(1000, 2000)
    assert packet.error == "ip at byte 46: truncated: 32 of 33 bytes there"
    assert wrong_checksums(packet) == ()


def test_noisy_reserved_bits_do_not_spoil_the_outer_checksum() -> None:
    inner = built_frames()[3]
    frame = v4(17, Udp(1, 4789).encode(b"\x88\x01\x02\x03\0\0\1\x09" + inner, V4))
    packet = dissect(frame)
    assert packet.vxlan == Vxlan(1)
    assert (packet.vxlan.flags, packet.vxlan.reserved) == (0x88, 0x01020309)
    assert wrong_checksums(packet) == ()


def test_every_kind_reads_well() -> None:
    ns, na, rs, ra = (describe(dissect(frame)) for frame in built_frames()[-4:])
    assert ns == "fd00::a > fd00::b nd solicitation who-has fd00::b ttl 255"
    assert na == f"fd00::a > fd00::b nd advertisement fd00::a is-at {A} ttl 255"
    assert rs == "fd00::a > fd00::b nd router solicitation ttl 255"
    assert ra == "fd00::a > fd00::b nd router advertisement lifetime 1800 ttl 255"
    lines = [describe(dissect(frame)) for frame in built_frames()]
    between = "10.1.1.11 > 10.1.1.12"
    assert lines[1] == f"{between} tcp 443>50000 [syn ack ece] seq 1 ack 2 window 64240 ttl 64 0 bytes"
    assert lines[2].startswith(f"vlan 10 vlan 20 {between} tcp 1>2 [psh ack]")
    assert lines[3] == f"{between} udp 1000>2000 ttl 64 5 bytes"
    assert lines[6] == f"{between} icmp unreachable too big mtu 1450 ttl 64 about {between} icmp id 77 seq 3"
    assert lines[9] == f"{between} igmp v3 report 239.1.1.2 ttl 64"
    assert lines[10] == (
        f"{between} udp 40000>4789 ttl 64 vxlan vni 11259375 | {A} > {B} vlan 100 {between} udp 53>5353 ttl 64 1 bytes"
    )


def test_scapy_builds_the_same_bytes() -> None:
    ether = l2.Ether(src=A, dst=B)
    ip4, ip6 = inet.IP(src=V4.src, dst=V4.dst, id=7), inet6.IPv6(src=V6.src, dst=V6.dst, hlim=255, fl=0xABCDE)
    mine = built_frames()
    options = [("MSS", 1460)]
    address = inet6.ICMPv6NDOptSrcLLAddr(lladdr=A)
    inner = ether / l2.Dot1Q(vlan=100, prio=5) / ip4 / inet.UDP(sport=53, dport=5353) / b"x"
    outer = inet.UDP(sport=40000, dport=4789, chksum=0) / scapy_vxlan.VXLAN(flags=8, vni=0xABCDEF)
    syn = inet.TCP(sport=443, dport=50000, seq=1, ack=2, flags="SAE", window=64240, options=options)
    expected = {
        0: l2.Ether(src=A, dst="ff:ff:ff:ff:ff:ff") / l2.ARP(hwsrc=A, psrc=V4.src, pdst=V4.dst) / bytes(18),
        1: ether / ip4 / syn,
        3: ether / ip4 / inet.UDP(sport=1000, dport=2000) / b"hello",
        4: ether / ip4 / inet.ICMP(id=77, seq=3) / b"ping",
        10: ether / ip4 / outer / inner,
        14: ether / ip6 / inet6.ICMPv6EchoRequest(id=77, seq=3, data=b"ping"),
        18: ether / ip6 / inet6.ICMPv6ND_NS(tgt=V6.dst) / address,
        20: ether / ip6 / inet6.ICMPv6ND_RS() / address,
    }
    for index, theirs in expected.items():
        assert bytes(theirs) == mine[index], index


def test_groups_of_a_damaged_report_end_before_the_damage() -> None:
    record = b"\x04\0\0\0\xef\x01\x01\x02"
    assert igmp.groups(Igmp(igmp.REPORT_V3, 0, "0.0.255.255"), record * 2 + b"\x04") == ("239.1.1.2", "239.1.1.2")
    assert igmp.groups(Igmp(igmp.QUERY, 0, "0.0.0.0"), b"") == ()
    assert icmpv6.groups(Icmpv6(icmpv6.MLD_QUERY, 0), bytes(16)) == ()
    assert icmpv6.groups(Icmpv6(icmpv6.MLD_REPORT, 0), ipv6_bytes("ff02::5", "mld")) == ("ff02::5",)


def test_tcp_flag_names() -> None:
    assert Tcp(1, 2, 3, 4, tcp.SYN | tcp.ACK, 5).flag_names == ("syn", "ack")
