"""tshark as a second judge: its decode and ours, field by field.

Both decodes are flattened to a list of (protocol, fields) from the outside in. The judge is tshark's PDML.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from weft.wire import nd
from weft.wire.ipv4 import IPv4
from weft.wire.packet import Packet
from weft.wire.verify import wrong_checksums

Layers = list[tuple[str, dict[str, str]]]

# What is compared, by tshark's names. Numbers are compared as numbers, so hex and decimal are one.
FIELDS = {
    "eth": ("dst", "src", "type"),
    "vlan": ("id", "priority", "dei", "etype"),
    "arp": ("opcode", "src.hw_mac", "src.proto_ipv4", "dst.hw_mac", "dst.proto_ipv4"),
    "ip": ("src", "dst", "ttl", "len", "proto", "id", "flags.df", "flags.mf", "checksum", "dsfield", "checksum.status"),
    "ipv6": ("src", "dst", "hlim", "plen", "nxt", "flow", "tclass"),
    "udp": ("srcport", "dstport", "length", "checksum", "checksum.status"),
    "tcp": ("srcport", "dstport", "seq_raw", "ack_raw", "flags", "window_size_value", "checksum", "checksum.status"),
    "vxlan": ("flags", "vni"),
    "icmp": ("type", "code", "ident", "seq", "mtu", "checksum", "checksum.status"),
    "icmpv6": (
        *("type", "code", "echo.identifier", "echo.sequence_number", "mtu", "checksum", "checksum.status"),
        *("nd.ns.target_address", "nd.na.target_address", "nd.na.flag.r", "nd.na.flag.s", "nd.na.flag.o"),
        *("nd.ra.router_lifetime", "nd.ra.reachable_time", "nd.ra.retrans_timer", "opt.linkaddr"),
    ),
    "igmp": ("type", "checksum", "checksum.status"),
}


_WANTED = {f"{name}.{key}".encode(): (name, key) for name, keys in FIELDS.items() for key in keys}
_SHOW = re.compile(rb' show="([^"]*)"')


def judged(path: Path) -> list[Layers]:
    """tshark's decode of each packet in a file."""
    command = ["tshark", "-n", "-r", str(path), "-T", "pdml", "-J", " ".join(FIELDS), "-d", "udp.port==8472,vxlan"]
    for name in ("ip", "udp", "tcp"):
        command += ["-o", f"{name}.check_checksum:TRUE"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tshark:
        assert tshark.stdout
        packets = list(_packets(tshark.stdout))
    assert tshark.returncode == 0, command
    return packets


def _packets(pdml: Iterable[bytes]) -> Iterator[Layers]:
    """PDML as tshark writes it, one element a line: a transfer of 4 MB is 350 MB of it, so nearly all is passed over.

    A protocol within a protocol is of a packet that this one quotes, and not compared.
    """
    layers: Layers = []
    name, depth = "", 0
    for line in pdml:
        element, _, rest = line.lstrip().partition(b' name="')
        if element == b"<field":
            wanted = _WANTED.get(rest.partition(b'"')[0])
            if wanted and depth == 1 and wanted[0] == name and (show := _SHOW.search(line)):
                layers[-1][1].setdefault(wanted[1], show[1].decode())
        elif element == b"<proto":
            depth += not line.endswith(b"/>\n")
            name = rest.partition(b'"')[0].decode() if depth == 1 else name
            if depth == 1 and name in FIELDS:
                layers.append((name, {}))
        elif element == b"</proto>\n":
            depth -= 1
        elif element == b"</packet>\n":
            yield layers
            layers = []


def ours(packet: Packet, wrong: Collection[str] | None = None) -> Layers:
    """Our decode, under tshark's names. `wrong`: what `wrong_checksums` says of it, where that is known."""
    wrong = wrong_checksums(packet) if wrong is None else wrong
    within = [layer.removeprefix("inner ") for layer in wrong if layer.startswith("inner ")]
    inner = ours(packet.inner, within) if packet.inner and packet.inner.ethernet else []
    return [*_link(packet), *_network(packet, wrong), *_transport(packet, wrong), *_control(packet, wrong), *inner]


def _layer(name: str, **fields: object) -> tuple[str, dict[str, str]]:
    """`__` in a field's name stands for a dot; what is None is not there."""
    shown = {key.replace("__", "."): value for key, value in fields.items() if value is not None}
    return name, {key: str(int(value) if isinstance(value, bool) else value) for key, value in shown.items()}


def _status(layer: str, wrong: Collection[str], checksum: int = 1) -> int:
    """tshark's: 0 bad, 1 good, 3 not present."""
    return 0 if layer in wrong else 1 if checksum or layer != "udp" else 3


def _link(packet: Packet) -> Iterator[tuple[str, dict[str, str]]]:
    if ethernet := packet.ethernet:
        types = [*(tag.tpid for tag in ethernet.tags), ethernet.ethertype]
        yield _layer("eth", dst=ethernet.dst, src=ethernet.src, type=types[0])
        for tag, following in zip(ethernet.tags, types[1:], strict=True):
            yield _layer("vlan", id=tag.vid, priority=tag.pcp, dei=tag.dei, etype=following)
    if each := packet.arp:
        yield _layer(
            "arp",
            opcode=each.operation,
            src__hw_mac=each.sender_mac,
            src__proto_ipv4=each.sender_ip,
            dst__hw_mac=each.target_mac,
            dst__proto_ipv4=each.target_ip,
        )


def _network(packet: Packet, wrong: Collection[str]) -> Iterator[tuple[str, dict[str, str]]]:
    if isinstance(packet.ip, IPv4):
        yield _layer(
            "ip",
            src=packet.ip.src,
            dst=packet.ip.dst,
            ttl=packet.ip.ttl,
            len=packet.ip.length,
            proto=packet.ip.protocol,
            id=packet.ip.identification,
            flags__df=packet.ip.dont_fragment,
            flags__mf=packet.ip.more_fragments,
            checksum=packet.ip.checksum,
            dsfield=packet.ip.tos,
            checksum__status=_status("ipv4", wrong),
        )
    elif packet.ip:
        yield _layer(
            "ipv6",
            src=packet.ip.src,
            dst=packet.ip.dst,
            hlim=packet.ip.hop_limit,
            plen=packet.ip.length,
            nxt=packet.ip.next_header,
            flow=packet.ip.flow_label,
            tclass=packet.ip.traffic_class,
        )


def _transport(packet: Packet, wrong: Collection[str]) -> Iterator[tuple[str, dict[str, str]]]:
    if udp := packet.udp:
        yield _layer(
            "udp",
            srcport=udp.src_port,
            dstport=udp.dst_port,
            length=udp.length,
            checksum=udp.checksum,
            checksum__status=_status("udp", wrong, udp.checksum),
        )
    if tcp := packet.tcp:
        yield _layer(
            "tcp",
            srcport=tcp.src_port,
            dstport=tcp.dst_port,
            seq_raw=tcp.seq,
            ack_raw=tcp.ack,
            flags=tcp.flags,
            window_size_value=tcp.window,
            checksum=tcp.checksum,
            # tshark alone calls 0xffff bad where the sum is right, since a sender should write 0 (weft.wire.verify).
            checksum__status=0 if tcp.checksum == 0xFFFF else _status("tcp", wrong),
        )


def _control(packet: Packet, wrong: Collection[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """ICMP, IGMP and VXLAN."""
    if icmp := packet.icmp:
        echo = icmp.type in (0, 8)
        yield _layer(
            "icmp",
            type=icmp.type,
            code=icmp.code,
            ident=icmp.ident if echo else None,
            seq=icmp.seq if echo else None,
            mtu=icmp.mtu or None,
            checksum=icmp.checksum,
            checksum__status=_status("icmp", wrong),
        )
    if packet.icmpv6:
        yield _icmpv6(packet, _status("icmpv6", wrong))
    if igmp := packet.igmp:
        yield _layer("igmp", type=igmp.type, checksum=igmp.checksum, checksum__status=_status("igmp", wrong))
    if packet.vxlan:
        # tshark shows flags and the reserved bits that Group Policy uses as 16 bits.
        flags = packet.vxlan.flags << 8 | packet.vxlan.reserved >> 24
        yield _layer("vxlan", flags=flags, vni=packet.vxlan.vni)


def _icmpv6(packet: Packet, status: int) -> tuple[str, dict[str, str]]:
    header, message = packet.icmpv6, packet.nd
    assert header
    echo = header.type in (128, 129)
    solicitation = message if isinstance(message, nd.NeighborSolicitation) else None
    advertisement = message if isinstance(message, nd.NeighborAdvertisement) else None
    router = message if isinstance(message, nd.RouterAdvertisement) else None
    return _layer(
        "icmpv6",
        type=header.type,
        code=header.code,
        checksum=header.checksum,
        checksum__status=status,
        echo__identifier=header.ident if echo else None,
        echo__sequence_number=header.seq if echo else None,
        mtu=header.mtu or None,
        opt__linkaddr=(message.source_link or message.target_link) if message else None,
        nd__ns__target_address=solicitation and solicitation.target,
        nd__na__target_address=advertisement and advertisement.target,
        nd__na__flag__r=advertisement and advertisement.router,
        nd__na__flag__s=advertisement and advertisement.solicited,
        nd__na__flag__o=advertisement and advertisement.override,
        nd__ra__router_lifetime=router and router.lifetime,
        nd__ra__reachable_time=router and router.reachable,
        nd__ra__retrans_timer=router and router.retransmit,
    )


def comparable(layers: Layers) -> Layers:
    return [(name, {key: _number(value) for key, value in sorted(fields.items())}) for name, fields in layers]


@lru_cache(100_000)
def _number(text: str) -> str:
    if text in ("True", "False"):
        return str(int(text == "True"))
    try:
        return str(int(text, 16 if text.startswith("0x") else 10))
    except ValueError:
        return text
