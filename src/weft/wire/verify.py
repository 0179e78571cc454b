"""Which checksums of a packet are wrong.

A capture on a veth with offloads on shows checksums nobody has finished yet; on a wire, a wrong one is a lost packet.
The layers are built again from what was decoded, and the checksums compared as receivers do it: 0 and 0xffff are two
writings of the same sum (RFC 1071 section 1). A sender should write 0 (RFC 1624 section 3), and so do we. Linux writes
0xffff where it finishes the checksum of a packet in software, of TCP as of UDP (net/core/dev.c, skb_checksum_help):
one pure ACK in 65,536 behind a device without offloads has it, and every stack takes it.
"""

from __future__ import annotations

from weft.wire.icmp import Icmp
from weft.wire.icmpv6 import Icmpv6
from weft.wire.igmp import Igmp
from weft.wire.ipv4 import IPv4
from weft.wire.packet import Packet
from weft.wire.tcp import Tcp
from weft.wire.udp import Udp


def wrong_checksums(packet: Packet) -> tuple[str, ...]:
    """Layers with a wrong checksum, outside in, such as `("udp", "inner ipv4")`.

    What cannot be judged is not named: UDP checksums of 0, fragments, and the upper layers of a truncated packet.
    """
    wrong = [] if _ipv4_right(packet) else ["ipv4"]
    header = packet.udp or packet.tcp or packet.icmp or packet.icmpv6 or packet.igmp
    if header and not packet.truncated and not _upper_right(packet, header):
        wrong.append(type(header).__name__.lower())
    if packet.inner:
        wrong += [f"inner {layer}" for layer in wrong_checksums(packet.inner)]
    return tuple(wrong)


def _ipv4_right(packet: Packet) -> bool:
    header = packet.ip
    if not isinstance(header, IPv4):
        return True
    rebuilt, _ = IPv4.decode(header.encode(bytes(header.length - header.header_length)))
    return _same(rebuilt.checksum, header.checksum)


def _upper_right(packet: Packet, header: Udp | Tcp | Icmp | Icmpv6 | Igmp) -> bool:
    segment = packet.segment()
    vxlan = packet.vxlan
    if vxlan and isinstance(header, Udp) and header.checksum and packet.ip:
        # A sender may set reserved bits, which we never do: the sum covers the header as it was read.
        read = bytes((vxlan.flags, *(vxlan.reserved >> 8).to_bytes(3, "big"), *vxlan.vni.to_bytes(3, "big")))
        segment = header.encode(read + bytes((vxlan.reserved & 0xFF,)) + packet.payload, packet.ip.pseudo())
    rebuilt, _ = header.decode(segment)
    return _same(rebuilt.checksum, header.checksum)


def _same(one: int, other: int) -> bool:
    return one % 0xFFFF == other % 0xFFFF
