"""Addresses and limits: MAC, IP and VNI, as text for people and as integers for tables.

Text is canonical everywhere inside Weft: MACs in lower case with colons, IPs as the `ipaddress` module prints them.
In tables an IP address is 128 bits in two words (`high`, `low`), IPv4 in its mapped form ::ffff:a.b.c.d
(RFC 4291 section 2.5.5.2), so that both families share one layout; a MAC address is the low 48 bits of one word.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from weft.model.errors import Kind, WeftError

VNI_MIN, VNI_MAX = 1, 2**24 - 1  # RFC 7348 section 5; 0 is refused by choice
UDP_PORT_VXLAN = 4789  # RFC 7348 section 8.2 (IANA)
UDP_PORT_FLANNEL = 8472  # Linux's historic default, which flannel keeps
UDP_PORT_PROBES = 14789  # our own: peers' liveness, VTEP to VTEP (weft.agent.probes)
MTU_MIN = 576  # RFC 791: what every IPv4 host must take; 1280 where a subnet is IPv6 (RFC 8200 section 5)
MTU_MIN_IPV6 = 1280
MTU_MAX = 65535 - 50
OVERHEAD_IPV4, OVERHEAD_IPV6 = 50, 70  # inner Ethernet 14 + VXLAN 8 + UDP 8 + IPv4 20 or IPv6 40

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MAPPED = 0xFFFF << 32
_WORD = (1 << 64) - 1


def parse_mac(text: str) -> str:
    """Canonical text of a MAC address; raises INVALID for anything but six octets in hex (`:` or `-` between)."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise WeftError(Kind.INVALID, f"'{text}' is not a MAC address", remedy="write it as 02:00:00:00:00:01")
    return mac


def is_canonical_mac(text: str) -> bool:
    """Whether a MAC address is written as `parse_mac` writes it."""
    return _MAC.fullmatch(text) is not None


def is_canonical_ip(text: str) -> bool:
    """Whether an address is written as `parse_ip` writes it; IPv4 can be written in no other way."""
    try:
        return ":" not in text or parse_ip(text) == text
    except WeftError:
        return False


def parse_unicast_mac(text: str) -> str:
    """As `parse_mac`, and an address that a host can have: not multicast, not all zeros."""
    mac = parse_mac(text)
    if int(mac[:2], 16) & 1:
        raise WeftError(Kind.INVALID, f"{mac} is a multicast MAC address", remedy="the first octet must be even")
    if mac == "00:00:00:00:00:00":
        raise WeftError(Kind.INVALID, f"{mac} is no host's MAC address", remedy="leave `mac` out to get one assigned")
    return mac


def mac_to_int(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def int_to_mac(value: int) -> str:
    text = f"{value:012x}"
    return f"{text[:2]}:{text[2:4]}:{text[4:6]}:{text[6:8]}:{text[8:10]}:{text[10:]}"


def canonical_mac(text: str) -> int | None:
    """As `mac_to_int`; None for a text that is not written as `parse_mac` writes it."""
    return int(text.replace(":", ""), 16) if _MAC.fullmatch(text) else None


def parse_ip(text: str) -> str:
    """Canonical text of an IP address without prefix length; raises INVALID."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise WeftError(
            Kind.INVALID, f"'{text}' is not an IP address", remedy="write it as 10.1.1.11 or 2001:db8::11"
        ) from None


def parse_subnet(text: str) -> str:
    """Canonical text of a subnet; raises INVALID where host bits are set or the prefix length is missing."""
    try:
        if "/" not in text:
            like = f"{ipaddress.ip_address(text.strip())}/{64 if ':' in text else 24}"
            raise WeftError(Kind.INVALID, f"'{text}' has no prefix length", remedy=f"write it as {like}")
        return str(ipaddress.ip_network(text.strip()))
    except ValueError:
        try:
            if "/" not in text:
                raise ValueError
            wanted = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            raise WeftError(Kind.INVALID, f"'{text}' is not a subnet", remedy="write it as 10.1.1.0/24") from None
        raise WeftError(Kind.INVALID, f"'{text}' is not a subnet", remedy=f"did you mean {wanted}?") from None


@lru_cache(maxsize=4096)  # VTEPs come again and again, hosts' addresses do not
def ip_to_words(ip: str) -> tuple[int, int]:
    """(high, low) words of an address, IPv4 mapped."""
    address = ipaddress.ip_address(ip)
    value = int(address) | _MAPPED if address.version == 4 else int(address)
    return value >> 64, value & _WORD


def words_to_ip(high: int, low: int) -> str:
    """Inverse of `ip_to_words`."""
    if high == 0 and low >> 32 == 0xFFFF:
        return f"{low >> 24 & 255}.{low >> 16 & 255}.{low >> 8 & 255}.{low & 255}"
    return str(ipaddress.IPv6Address(high << 64 | low))


def canonical_ip(text: str) -> tuple[int, int] | None:
    """As `ip_to_words`; None for a text that is not written as `parse_ip` writes it."""
    try:
        if ":" in text:
            value = int(ipaddress.IPv6Address(text))
            words = value >> 64, value & _WORD
        else:
            one, two, three, four = map(int, text.split("."))
            if min(one, two, three, four) < 0:
                return None
            words = 0, _MAPPED | (one << 24 | two << 16 | three << 8 | four) & 0xFFFFFFFF
    except ValueError:
        return None
    return words if words_to_ip(*words) == text else None


def is_mac(text: str) -> bool:
    """Which of a canonical MAC address and an IP address it is."""
    return len(text) == 17 and text.count(":") == 5


def is_ipv6(ip: str) -> bool:
    return ":" in ip


def overhead(vtep: str) -> int:
    """Octets that VXLAN adds to an inner IP packet on an underlay of this address's family."""
    return OVERHEAD_IPV6 if is_ipv6(vtep) else OVERHEAD_IPV4
