"""What a tunnel says to the sender of a packet that it can't carry (RFC 792, RFC 1812 section 4.3).

Net unreachable is flannel's answer to the octet: from the device's own address, TTL 8, identification 0, and of the
packet its header and eight octets more. Where flannel is silent, about a TTL that ran out, the form is the same.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from weft.l2.user.iptunnel.header import HEADER
from weft.wire.icmp import ERRORS, TIME_EXCEEDED, UNREACHABLE, Icmp
from weft.wire.ip import ICMP
from weft.wire.ipv4 import IPv4

_TTL = 8
_RATE, _BURST = 1000.0, 50.0  # answers a second, and at once: Linux's icmp_msgs_per_sec and icmp_msgs_burst


class Limit:
    """How many answers are given (RFC 1812 section 4.3.2.8); time is an argument, in seconds."""

    def __init__(self) -> None:
        self._left, self._then = _BURST, 0.0

    def allows(self, now: float) -> bool:
        self._left = min(_BURST, self._left + (now - self._then) * _RATE)
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def net_unreachable(packet: bytearray | memoryview, own: str) -> bytes | None:
    """For a packet that no route fits; None where none may be given."""
    return _answer(packet, own, UNREACHABLE)


def time_exceeded(packet: bytearray | memoryview, own: str) -> bytes | None:
    """For a packet whose TTL ran out; None where none may be given."""
    return _answer(packet, own, TIME_EXCEEDED)


def _answer(packet: bytearray | memoryview, own: str, kind: int) -> bytes | None:
    if not _answerable(packet):
        return None
    quoted = bytes(packet[: (packet[0] & 15) * 4 + 8])
    to = str(IPv4Address(bytes(packet[12:16])))
    return IPv4(own, to, ICMP, ttl=_TTL).encode(Icmp(kind, 0).encode(quoted))


def _answerable(packet: bytearray | memoryview) -> bool:
    """RFC 1812 section 4.3.2.7: never about an ICMP error, a later fragment, a group, or to what is no host."""
    if packet[6] & 0x1F or packet[7] or packet[16] >= 224:
        return False
    at = (packet[0] & 15) * 4
    if packet[9] == ICMP and (len(packet) <= at or packet[at] in ERRORS):
        return False
    return len(packet) >= HEADER and packet[12] not in (0, 127) and packet[12] < 224
