"""MAC and IP addresses between text and bytes.

Values carry text, because people read them: MACs in lower case with colons, IPs in `ipaddress`' compressed form
(RFC 5952 for IPv6). No lookups, no scope ids.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from weft.wire.errors import WireError

BROADCAST = "ff:ff:ff:ff:ff:ff"
ZERO_MAC = "00:00:00:00:00:00"

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)


def mac_text(data: bytes) -> str:
    """Six bytes as `b6:74:4d:de:7a:72`."""
    return data.hex(":")


def mac_bytes(text: str, protocol: str = "ethernet", offset: int = 0) -> bytes:
    """The six bytes of a MAC in its only form, lower case with colons."""
    if not _MAC.fullmatch(text):
        raise WireError(protocol, offset, f"{text!r} is not a MAC; write it like 02:00:00:00:00:0a")
    return bytes.fromhex(text.replace(":", ""))


def ip_text(data: bytes) -> str:
    """Four or sixteen bytes as the address's compressed text."""
    return str(IPv4Address(data) if len(data) == 4 else IPv6Address(data))


def ipv4_bytes(text: str, protocol: str, offset: int = 0) -> bytes:
    """The four bytes of an IPv4 address."""
    try:
        return IPv4Address(text).packed
    except AddressValueError as error:
        raise WireError(protocol, offset, f"{text!r} is not an IPv4 address") from error


def ipv6_bytes(text: str, protocol: str, offset: int = 0) -> bytes:
    """The sixteen bytes of an IPv6 address; a scope id (`%eth0`) has no place on the wire and is refused."""
    try:
        address = IPv6Address(text)
    except AddressValueError as error:
        raise WireError(protocol, offset, f"{text!r} is not an IPv6 address") from error
    if address.scope_id is not None:
        raise WireError(protocol, offset, f"{text!r} carries a scope id; leave it out")
    return address.packed


def multicast_mac(ip: str) -> str:
    """The MAC an IP multicast group is sent to (RFC 1112 section 6.4, RFC 2464 section 7)."""
    if ":" in ip:
        return mac_text(b"\x33\x33" + ipv6_bytes(ip, "ethernet")[12:])
    group = ipv4_bytes(ip, "ethernet")
    return mac_text(bytes((0x01, 0x00, 0x5E, group[1] & 0x7F)) + group[2:])
