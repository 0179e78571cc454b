"""Frames for the pure tests, built by weft.wire: the other implementation of every header."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weft.l2.user import vnet
from weft.l2.user.tx.bundle import Bundle
from weft.l2.user.tx.split import Train, shape_of, sums_of
from weft.l2.user.vnet import Offload
from weft.wire import icmp, icmpv6
from weft.wire.checksum import PseudoHeader
from weft.wire.ethernet import ARP, IPV4, IPV6, Ethernet, Tag
from weft.wire.ipv4 import IPv4
from weft.wire.ipv6 import IPv6
from weft.wire.tcp import Tcp
from weft.wire.udp import Udp

A, B, C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
BROADCAST = "ff:ff:ff:ff:ff:ff"
HOSTS = {4: ("10.1.1.11", "10.1.1.12"), 6: ("fd01::11", "fd01::12")}


def tcp(
    payload: bytes,
    *,
    version: int = 4,
    flags: int = 0x10,
    sequence: int = 1000,
    options: bytes = b"",
    ports: tuple[int, int] = (40000, 5001),
    tags: tuple[Tag, ...] = (),
    tos: int = 0,
    ident: int = 7,
    dont_fragment: bool = True,
) -> bytes:
    """A TCP frame from A to B with right checksums."""
    src, dst = HOSTS[version]
    segment = Tcp(*ports, sequence, 77, flags, 512, options=options).encode(payload, PseudoHeader(src, dst))
    if version == 4:
        ip = IPv4(src, dst, 6, tos=tos, identification=ident, dont_fragment=dont_fragment).encode(segment)
    else:
        ip = IPv6(src, dst, 6, traffic_class=tos).encode(segment)
    return Ethernet(B, A, IPV4 if version == 4 else IPV6, tags).encode(ip)


def udp(payload: bytes, *, src: str = A, dst: str = B) -> bytes:
    pseudo = PseudoHeader(*HOSTS[4])
    return Ethernet(dst, src, IPV4).encode(IPv4(*HOSTS[4], 17).encode(Udp(1000, 2000).encode(payload, pseudo)))


def echo(version: int = 4, number: int = 1, payload: bytes = b"") -> bytes:
    """An ICMP echo request from A to B."""
    src, dst = HOSTS[version]
    if version == 4:
        return Ethernet(B, A, IPV4).encode(IPv4(src, dst, 1).encode(icmp.echo_request(7, number, payload)))
    message = icmpv6.echo_request(7, number, payload, PseudoHeader(src, dst))
    return Ethernet(B, A, IPV6).encode(IPv6(src, dst, 58).encode(message))


def arp(body: bytes, *, src: str = A, dst: str = BROADCAST) -> bytes:
    return Ethernet(dst, src, ARP).encode(body)


def offloaded(frame: bytes, mss: int) -> tuple[bytearray, Offload]:
    """A TCP frame as a TAP hands it over: its checksum unfinished, and the header that says so."""
    start = 34 if frame[12:14] == b"\x08\x00" else 54
    if frame[12:14] == b"\x81\x00":
        start = 38 if frame[16:18] == b"\x08\x00" else 58
    kind = vnet.GSO_TCPV4 if start in (34, 38) else vnet.GSO_TCPV6
    return bytearray(frame), Offload(vnet.NEEDS_CSUM, kind, start + 20, mss, start, 16)


def split_all(frames: Sequence[bytes | memoryview], offload: Offload, front: bytes) -> Train | None:
    """The trains of big frames of one shape that are split together, one behind the other."""
    bundle: Bundle[None] = Bundle()
    for frame in frames:
        bundle.buffer[vnet.SIZE : vnet.SIZE + len(frame)] = frame
        there = bundle.buffer[vnet.SIZE : vnet.SIZE + len(frame)]
        shape = shape_of(there, offload, len(front))
        if shape is None:
            return None
        assert bundle.takes(shape)
        bundle.add(front, shape, sums_of(bundle.buffer[vnet.SIZE - len(front) :], shape), None)
    data = b"".join(train for _, train, _ in bundle.take())
    return Train(np.frombuffer(data, np.uint8), shape.size, len(frames) * shape.segments)


def split(frame: memoryview, offload: Offload, front: bytes) -> Train | None:
    """The train for one frame; None where frame and offload header don't fit together."""
    return split_all([frame], offload, front)
