"""The offload header for a frame that came out of a tunnel alone, and UDP trains that nobody has cut.

A VTEP on the same machine leaves the inner checksum to a NIC that never comes: it holds the pseudo header's sum only
(a finished one is that with a chance of 1 in 65,536, and is none the worse for being called unfinished). It even
leaves whole TCP frames of 64 KiB uncut. Both are given to the local port as what they are: offloaded. A UDP frame that
stands for many datagrams (UDP_SEGMENT) comes as if it were a train of ours: the kernel tells the size of its datagrams
(udp_cmsg_recv in include/linux/udp.h), but it has one header, whose length is that of the whole.
"""

from __future__ import annotations

from weft.l2.user import vnet
from weft.l2.user.vnet import Offload

_TCP, _UDP = 6, 17
_CHECKSUM = {_TCP: 16, _UDP: 6}
_OPTIONS = (0, 60)  # IPv6's, for each hop and for the destination
_BEFORE_UDP = frozenset((_UDP, *_OPTIONS))


def delivery(frame: memoryview, longest: int) -> bytes | None:
    """The header for a frame of at least 14 octets; None: it is longer than `longest` (untagged) and stays outside."""
    tagged = frame[12] == 0x81 and not frame[13]
    fits = len(frame) <= longest + 4 * tagged
    found = _upper(frame, 18 if tagged else 14)
    if found is None:
        return vnet.PLAIN if fits else None
    version, ip, at, protocol, unfinished = found
    start = at
    flags, offset = (vnet.NEEDS_CSUM, _CHECKSUM[protocol]) if unfinished else (0, 0)
    if fits:
        return Offload(flags, start=start if flags else 0, offset=offset).encode() if flags else vnet.PLAIN
    head = start + (frame[start + 12] >> 4) * 4 if protocol == _TCP and len(frame) >= start + 20 else 0
    mss = longest - 14 - (head - ip)
    if not unfinished or not head or mss <= 0:
        return None
    kind = vnet.GSO_TCPV4 if version == 4 else vnet.GSO_TCPV6
    return Offload(flags, kind, head, mss, start, offset).encode()


def uncut(octets: memoryview, size: int) -> Offload | None:
    """How a frame that arrived as a train of datagrams of `size` is to be cut; None where it is a train indeed."""
    if len(octets) < 14 + 28:
        return None
    ip = 18 if octets[12] == 0x81 and not octets[13] else 14
    if _BEFORE_UDP.isdisjoint((octets[ip + 9], octets[ip + 6])):
        return None
    found = _upper(octets, ip)
    if found is None:
        return None
    _, _, at, protocol, unfinished = found
    length = octets[at + 4] << 8 | octets[at + 5]
    if protocol != _UDP or not unfinished or at + length != len(octets):
        return None
    return Offload(vnet.NEEDS_CSUM, vnet.GSO_UDP_L4, at + 8, size, at, _CHECKSUM[_UDP])


def _upper(frame: memoryview, ip: int) -> tuple[int, int, int, int, bool] | None:
    """IP version, where IP and TCP or UDP start, which of them it is, whether its checksum is unfinished."""
    if len(frame) < ip + 28:
        return None
    kind = frame[ip - 2] << 8 | frame[ip - 1]
    if kind == 0x0800 and frame[ip] >> 4 == 4:
        if frame[ip + 6] & 0x3F or frame[ip + 7]:
            return None  # a fragment
        version, protocol, at = 4, frame[ip + 9], ip + (frame[ip] & 15) * 4
        addresses, length = frame[ip + 12 : ip + 20], (frame[ip + 2] << 8 | frame[ip + 3]) - (at - ip)
    elif kind == 0x86DD and len(frame) >= ip + 48:
        version, (protocol, at) = 6, _behind(frame, ip)
        addresses, length = frame[ip + 8 : ip + 40], (frame[ip + 4] << 8 | frame[ip + 5]) - (at - ip - 40)
    else:
        return None
    place = at + _CHECKSUM.get(protocol, 0)
    if place == at or len(frame) < place + 2:
        return None
    # Sums of 16-bit words agree modulo 65535 (weft.wire.checksum), and a sum that is not all zeros is never 0.
    stated = frame[place] << 8 | frame[place + 1]
    wanted = int.from_bytes(addresses, "big") + protocol + length
    return version, ip, at, protocol, stated != 0 and (wanted - stated) % 0xFFFF == 0


def _behind(frame: memoryview, ip: int) -> tuple[int, int]:
    """Which protocol stands behind IPv6's header and options, and where; a frame may be cut short anywhere."""
    protocol, at = frame[ip + 6], ip + 40
    while protocol in _OPTIONS and len(frame) >= at + 8:
        protocol, at = frame[at], at + 8 + frame[at + 1] * 8
    return protocol, at
