"""A router's NAT as one nftables table: static 1:1 translation both ways, and masquerade on the way out.

    table inet weft {
        chain in  { type nat hook prerouting priority dstnat;  iifname <outside> ip daddr <b> dnat ip to <a> … }
        chain out { type nat hook postrouting priority srcnat; oifname <outside> ip saddr <a> snat ip to <b> …
                                                               oifname <outside> masquerade }
    }

Each rule says in its comment what it does, and is known by that when the table is read back (RFC 3022).
"""

from __future__ import annotations

import ipaddress
import struct

from weft.netlink import message as m
from weft.netlink import nft_message as x
from weft.netlink.channel import NetlinkError, failure
from weft.netlink.namespace import Namespace

TABLE, _IN, _OUT = "weft", "in", "out"
_PRE_ROUTING, _POST_ROUTING = 0, 4
_DST_NAT, _SRC_NAT = -100, 100  # priorities
_SNAT, _DNAT = 0, 1
_APPEND = m.NLM_F_CREATE | m.NLM_F_APPEND

Pairs = tuple[tuple[str, str], ...]  # (inside address, outside address)


class NatTable:
    """The NAT table of one namespace. Errors are WeftErrors that name it."""

    def __init__(self, namespace: Namespace) -> None:
        self._channel = x.channel(f"nft table inet {TABLE}", namespace)

    def close(self) -> None:
        self._channel.close()

    def observe(self) -> tuple[str, ...]:
        """What each rule does, in order."""
        try:
            bodies = self._channel.dump(x.SUBSYSTEM | x.GETRULE, x.generic(x.INET) + m.text(1, TABLE))
        except NetlinkError as error:
            if error.errno in x.ABSENT:
                return ()
            raise failure(error, f"nft table inet {TABLE}", "read it") from error
        return tuple(x.comment_of(m.parse(body, 4)) for body in bodies)

    def put(self, outside: str, masquerade: bool, pairs: Pairs) -> None:
        """The whole table in one transaction; connections that stand keep their translation."""
        table = m.text(1, TABLE)
        changes: list[x.Change] = [
            (x.NEWTABLE, m.NLM_F_CREATE, table),  # so that there is one to delete, whatever was there
            (x.DELTABLE, 0, table),
        ]
        if masquerade or pairs:
            rules = [(_chain_of(told), told, _rule(told)) for told in wanted(outside, masquerade, pairs)]
            changes += [
                (x.NEWTABLE, m.NLM_F_CREATE, table),
                _chain(_IN, _PRE_ROUTING, _DST_NAT),
                _chain(_OUT, _POST_ROUTING, _SRC_NAT),
                *((x.NEWRULE, _APPEND, _encode(chain, told, body)) for chain, told, body in rules),
            ]
        try:
            x.transact(self._channel, x.INET, changes)
        except NetlinkError as error:
            remedy = "load the modules nft_nat and nft_masq" if error.errno in x.ABSENT else ""
            raise failure(error, f"nft table inet {TABLE}", "change it", remedy) from error


def wanted(outside: str, masquerade: bool, pairs: Pairs) -> tuple[str, ...]:
    """The rules that say this, in order: what `observe` gives then."""
    return (
        *(f"dnat {outside} {b} {a}" for a, b in pairs),
        *(f"snat {outside} {a} {b}" for a, b in pairs),
        *((f"masquerade {outside}",) if masquerade else ()),
    )


def _chain_of(told: str) -> str:
    return _IN if told.startswith("dnat") else _OUT


def _chain(name: str, hook: int, priority: int) -> x.Change:
    where = m.nested(4, m.be32(1, hook), m.attribute(2, struct.pack(">i", priority)))
    body = m.text(1, TABLE) + m.text(3, name) + where + m.be32(5, 1) + m.text(7, "nat")
    return x.NEWCHAIN, m.NLM_F_CREATE, body


def _rule(told: str) -> list[bytes]:
    """The expressions of one rule, from its words."""
    what, outside, *addresses = told.split()
    side = x.META_IIFNAME if what == "dnat" else x.META_OIFNAME
    match = [x.meta(side), x.compare(x.ifname(outside))]
    if what == "masquerade":
        return [*match, x.expression("masq", b"")]
    seen, to = (ipaddress.ip_address(address) for address in addresses)
    family, at = (x.IPV4, 16 if what == "dnat" else 12) if seen.version == 4 else (x.IPV6, 24 if what == "dnat" else 8)
    kind = _DNAT if what == "dnat" else _SNAT
    nat = m.be32(1, kind) + m.be32(2, family) + m.be32(3, x.REG) + m.be32(4, x.REG)
    return [
        *match,
        x.meta(x.META_NFPROTO),
        x.compare(bytes([family])),
        x.payload(x.NETWORK_HEADER, at, len(seen.packed)),
        x.compare(seen.packed),
        x.load(to.packed),
        x.expression("nat", nat),
    ]


def _encode(chain: str, told: str, expressions: list[bytes]) -> bytes:
    return m.text(1, TABLE) + m.text(2, chain) + m.nested(4, *expressions) + m.attribute(7, x.comment(told))
