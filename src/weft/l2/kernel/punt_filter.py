"""What the punt's sockets accept."""

from __future__ import annotations

from weft.netlink.filter import ALL, AT_LEAST, EQUAL, GREATER, LOAD_BYTE, LOAD_HALF, LOAD_WORD, RETURN, SET, Program

_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF
_TAGGED = _ANCILLARY + 48  # SKF_AD_VLAN_TAG_PRESENT

# ARP, and ICMPv6 of types 133 to 136 right behind the IPv6 header; no tag
ARP_AND_ND: Program = (
    (LOAD_WORD, 0, 0, _TAGGED),
    (EQUAL, 0, 9, 0),
    (LOAD_HALF, 0, 0, 12),
    (EQUAL, 6, 0, 0x0806),
    (EQUAL, 0, 6, 0x86DD),
    (LOAD_BYTE, 0, 0, 20),
    (EQUAL, 0, 4, 58),
    (LOAD_BYTE, 0, 0, 54),
    (AT_LEAST, 0, 2, 133),
    (GREATER, 1, 0, 136),
    (RETURN, 0, 0, ALL),
    (RETURN, 0, 0, 0),
)

# Of neighbor messages those of bridges themselves: family AF_BRIDGE, without NTF_SELF
BRIDGE_ROWS: Program = (
    (LOAD_BYTE, 0, 0, 16),
    (EQUAL, 0, 3, 7),
    (LOAD_BYTE, 0, 0, 26),
    (SET, 1, 0, 0x02),
    (RETURN, 0, 0, ALL),
    (RETURN, 0, 0, 0),
)
