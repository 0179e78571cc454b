"""One nftables table of the bridge family: what concerns an anycast gateway does not leave by a tunnel.

    table bridge <name> {
        chain out {
            type filter hook postrouting priority 0; policy accept;
            oifname <tunnel> ether saddr <anycast MAC> drop              and daddr
            oifname <tunnel> arp saddr ip <gateway> drop                 and daddr: who asks, and who is asked for
            oifname <tunnel> icmpv6 type 133-137 ip6 saddr <gateway> drop; … target <gateway> drop
        }
    }

Where no ARP and ND at all may enter a tunnel, weft.netlink.nft sees to that, beside this. Each rule says in its
comment whose it is, so that the table can be read back.
"""

from __future__ import annotations

import ipaddress

from weft.model.address import is_mac
from weft.netlink import message as m
from weft.netlink import nft_message as x
from weft.netlink.channel import NetlinkError, failure
from weft.netlink.namespace import Namespace

_POST_ROUTING = 4
_ARP, _ICMPV6 = b"\x08\x06", b"\x3a"
_ND = (b"\x85", b"\x89")
_ARP_SENDER, _ARP_TARGET, _ETHER_DST, _ETHER_SRC, _IP6_SRC, _ND_TARGET = 14, 24, 0, 6, 8, 8


class GatewayTable:
    """The table of one namespace; `name` is ours alone. Errors are WeftErrors that name the table."""

    def __init__(self, name: str, namespace: Namespace) -> None:
        self.name = name
        self._channel = x.channel(f"nft table bridge {name}", namespace)

    def close(self) -> None:
        self._channel.close()

    def observe(self) -> dict[str, tuple[str, ...]]:
        """Tunnel → what is kept off it; one whose rules are not whole is left out."""
        try:
            bodies = self._channel.dump(x.SUBSYSTEM | x.GETRULE, x.generic(x.BRIDGE) + m.text(1, self.name))
        except NetlinkError as error:
            if error.errno in x.ABSENT:
                return {}
            raise failure(error, f"nft table bridge {self.name}", "read it") from error
        told: dict[str, dict[str, int]] = {}
        for body in bodies:
            device, _, item = x.comment_of(m.parse(body, 4)).partition(" ")
            items = told.setdefault(device, {})
            items[item] = items.get(item, 0) + 1
        return {device: tuple(items) for device, items in told.items() if set(items.values()) == {2}}

    def put(self, tunnel: str, anycast: tuple[str, ...]) -> None:
        """Exactly this kept off the tunnel; the whole table in one transaction, where it changes."""
        there = self.observe()
        if there.get(tunnel, ()) == anycast:
            return
        wanted = {device: items for device, items in (there | {tunnel: anycast}).items() if items}
        table = m.text(1, self.name)
        changes: list[x.Change] = [
            (x.NEWTABLE, m.NLM_F_CREATE, table),  # so that there is one to delete, whatever was there
            (x.DELTABLE, 0, table),
        ]
        if wanted:
            hook = m.nested(4, m.be32(1, _POST_ROUTING), m.be32(2, 0))
            chain = table + m.text(3, "out") + hook + m.be32(5, 1) + m.text(7, "filter")
            changes += [(x.NEWTABLE, m.NLM_F_CREATE, table), (x.NEWCHAIN, m.NLM_F_CREATE, chain)]
            for device, items in sorted(wanted.items()):
                for item in items:
                    changes += [self._rule(device, item, match) for match in _matches(item)]
        try:
            x.transact(self._channel, x.BRIDGE, changes)
        except NetlinkError as error:
            raise failure(error, f"nft table bridge {self.name}", "change it") from error

    def _rule(self, device: str, item: str, match: list[bytes]) -> x.Change:
        expressions = [x.meta(x.META_OIFNAME), x.compare(x.ifname(device)), *match, x.drop()]
        body = m.text(1, self.name) + m.text(2, "out") + m.nested(4, *expressions)
        return x.NEWRULE, m.NLM_F_CREATE | m.NLM_F_APPEND, body + m.attribute(7, x.comment(f"{device} {item}"))


def _matches(item: str) -> list[list[bytes]]:
    """Two rules' expressions for a MAC, or for an IP address in ARP or ND."""
    if is_mac(item):
        mac = bytes.fromhex(item.replace(":", ""))
        return [[x.payload(x.LINK_HEADER, at, 6), x.compare(mac)] for at in (_ETHER_SRC, _ETHER_DST)]
    ip = ipaddress.ip_address(item)
    if ip.version == 4:
        arp = [x.meta(x.META_PROTOCOL), x.compare(_ARP)]
        return [[*arp, x.payload(x.NETWORK_HEADER, at, 4), x.compare(ip.packed)] for at in (_ARP_SENDER, _ARP_TARGET)]
    nd = [x.meta(x.META_L4PROTO), x.compare(_ICMPV6), x.payload(x.TRANSPORT_HEADER, 0, 1), x.ranged(*_ND)]
    return [
        [*nd, x.payload(x.NETWORK_HEADER, _IP6_SRC, 16), x.compare(ip.packed)],
        [*nd, x.payload(x.TRANSPORT_HEADER, _ND_TARGET, 16), x.compare(ip.packed)],
    ]
