"""Chains of others that drop what a host forwards, as Docker's FORWARD does: read, never touched.

Base chains at the forward hook with the policy drop, in any table for IP; iptables' are among them where it is the one
that speaks nftables, as Debian's is. Source: NFTA_CHAIN_… of uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from weft.model.errors import WeftError
from weft.netlink import message as m
from weft.netlink import nft_message as x
from weft.netlink.channel import NetlinkError
from weft.netlink.namespace import Namespace

_FORWARD, _DROP = 2, 0  # NF_INET_FORWARD, NF_DROP
_FAMILIES = {x.INET: "inet", x.IPV4: "ip", x.IPV6: "ip6"}


def dropping(namespace: Namespace = None, accepting: str = "") -> list[str]:
    """`family table chain` of each, as nft names it; `accepting`: but not where the table has a chain of this name.
    Empty where the kernel cannot tell."""
    try:
        channel = x.channel("nftables", namespace)
    except WeftError:
        return []
    try:
        bodies = channel.dump(x.SUBSYSTEM | x.GETCHAIN, x.generic(0))
    except NetlinkError:
        return []
    finally:
        channel.close()
    chains = [(_FAMILIES[body[0]], m.parse(body, 4)) for body in bodies if body[0] in _FAMILIES]
    spared = {(family, m.to_text(told[1])) for family, told in chains if m.to_text(told[3]) == accepting}
    return [
        f"{family} {table} {m.to_text(told[3])}"
        for family, told in chains
        if _drops(told) and (family, table := m.to_text(told[1])) not in spared
    ]


def _drops(chain: m.Attributes) -> bool:
    if 4 not in chain or 5 not in chain or int.from_bytes(chain[5], "big") != _DROP:
        return False
    return int.from_bytes(m.parse(chain[4]).get(1, b"\xff"), "big") == _FORWARD
