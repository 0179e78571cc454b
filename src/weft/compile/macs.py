"""MACs and addresses that routers have on their own, the same wherever and whenever they are computed.

All are hashes of names and VNIs, locally administered (IEEE 802c), with 0a as first octet: ports that Weft gives a MAC
to have 02, so that the two never meet. What a node says of itself (ICMP errors, and as next hop over an L3 VNI) comes
from its VTEP address, or, in the other family, from an address made of it.
"""

from __future__ import annotations

import ipaddress
from hashlib import blake2b

from weft.model.address import int_to_mac, is_ipv6
from weft.model.network import SegmentKey

_LOCAL = 0x0A << 40
_OWN6 = int(ipaddress.IPv6Address("fd57:6566:7400::"))  # unique local (RFC 4193); the octets spell "Weft"
_OWN4 = int(ipaddress.IPv4Address("169.254.0.0"))


def irb_mac(router: str, key: SegmentKey, node: str = "") -> str:
    """An IRB's MAC: of one node's in a distributed gateway, the same on all (`node` "") in a centralized one."""
    return _mac("irb", router, str(key), node)


def anycast_mac(router: str, key: SegmentKey) -> str:
    """What local ports know a distributed gateway by."""
    return _mac("anycast", router, str(key))


def vtep_mac(key: SegmentKey, node: str) -> str:
    """Of a node's vxlan device in a routed network."""
    return _mac("vtep", str(key), node)


def router_mac(router: str, node: str) -> str:
    """Of a router on a node, in its L3 VNI (RFC 9135 section 5)."""
    return _mac("router", router, node)


def own_addresses(vtep: str) -> tuple[str, str]:
    """(IPv4, IPv6) that a router on the node of this VTEP has for itself; the VTEP address is one of them."""
    value = int(ipaddress.ip_address(vtep))
    if is_ipv6(vtep):
        low = int.from_bytes(blake2b(vtep.encode(), digest_size=2).digest(), "big")
        return str(ipaddress.IPv4Address(_OWN4 | max(256, low % 0xFE00))), vtep
    return vtep, str(ipaddress.IPv6Address(_OWN6 | value))


def link_local(mac: str) -> str:
    """The link-local address of this MAC (RFC 4291 appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((octets[0] ^ 2,)) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


def hop_address(vtep: str, ip: str) -> str:
    """The next hop to `ip` behind the router of this VTEP over an L3 VNI."""
    return own_addresses(vtep)[1] if is_ipv6(ip) else vtep


def _mac(*names: str) -> str:
    digest = blake2b("/".join(names).encode(), digest_size=5).digest()
    return int_to_mac(_LOCAL | int.from_bytes(digest, "big"))
