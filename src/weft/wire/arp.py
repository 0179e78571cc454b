"""ARP for IPv4 over Ethernet (RFC 826; probes and announcements RFC 5227)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from weft.wire.address import ZERO_MAC, ip_text, ipv4_bytes, mac_bytes, mac_text
from weft.wire.errors import WireError, fits, need

REQUEST = 1
REPLY = 2

_FIXED = struct.Struct("!HHBBH")
_ETHERNET_IPV4 = (1, 0x0800, 6, 4)


@dataclass(frozen=True, slots=True)
class Arp:
    """An ARP packet; `operation` is REQUEST, REPLY or any other 16-bit number."""

    operation: int
    sender_mac: str
    sender_ip: str
    target_mac: str
    target_ip: str

    @property
    def gratuitous(self) -> bool:
        """An announcement: the sender speaks of its own address to everybody."""
        return self.sender_ip == self.target_ip

    @property
    def probe(self) -> bool:
        """A probe for duplicates: the sender does not own the address yet, so nothing may be learned from it."""
        return self.operation == REQUEST and self.sender_ip == "0.0.0.0"

    def encode(self, payload: bytes = b"") -> bytes:
        """28 bytes, and `payload` (padding) behind them."""
        return b"".join(
            (
                _FIXED.pack(*_ETHERNET_IPV4, fits("arp", 6, "operation", self.operation, 16)),
                mac_bytes(self.sender_mac, "arp", 8),
                ipv4_bytes(self.sender_ip, "arp", 14),
                mac_bytes(self.target_mac, "arp", 18),
                ipv4_bytes(self.target_ip, "arp", 24),
                payload,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> tuple[Arp, bytes]:
        """The packet, and the padding behind it. ARP for other media or protocols is a `WireError`."""
        need("arp", data, 8)
        *kind, operation = _FIXED.unpack_from(data)
        if tuple(kind) != _ETHERNET_IPV4:
            raise WireError("arp", 0, f"hardware, protocol and lengths {tuple(kind)} are not Ethernet and IPv4")
        need("arp", data, 28)
        value = cls(operation, mac_text(data[8:14]), ip_text(data[14:18]), mac_text(data[18:24]), ip_text(data[24:28]))
        return value, data[28:]


def request(sender_mac: str, sender_ip: str, target_ip: str) -> Arp:
    """Who has `target_ip`? The target MAC is zero, as it is what is asked for."""
    return Arp(REQUEST, sender_mac, sender_ip, ZERO_MAC, target_ip)


def reply(question: Arp, mac: str) -> Arp:
    """The answer to `question`: the address asked for is at `mac`."""
    return Arp(REPLY, mac, question.target_ip, question.sender_mac, question.sender_ip)
