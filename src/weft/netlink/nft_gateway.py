"""One nftables table of the bridge family: what concerns an anycast gateway does not leave by a tunnel.

    table bridge <name> {
        map tunnels { type ifname : verdict; elements = { <tunnel> : goto <tunnel>, … } }
        chain <tunnel> {
            ether saddr <anycast MAC> drop              and daddr
            arp saddr ip <gateway> drop                 and daddr: who asks, and who is asked for
            icmpv6 type 133-137 ip6 saddr <gateway> drop; … target <gateway> drop
        }
        chain out {
            type filter hook postrouting priority 0; policy accept;
            oifname vmap @tunnels
        }
    }

Every bridged frame of the host passes this hook: it costs one look-up, however many networks have gateways. Where no
ARP and ND at all may enter a tunnel, weft.netlink.nft sees to that, beside this. Each rule says in its comment whose
it is, so that the table can be read back; the rules of an older version, which all stood in `out`, are read as well.
"""

from __future__ import annotations

import ipaddress

from weft.model.address import is_mac
from weft.netlink import message as m
from weft.netlink import nft_message as x
from weft.netlink.channel import NetlinkError, failure
from weft.netlink.namespace import Namespace

_POST_ROUTING = 4
_CHAIN, _MAP, _MAP_ID = "out", "tunnels", 1
_IS_MAP, _VERDICT = 8, 0xFFFFFF00  # NFT_SET_MAP, NFT_DATA_VERDICT
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
        """Tunnel → what is kept off it; one whose rules are not whole, or are not reached, is left out."""
        if not self._leads():
            return {}
        told, reached = _told(self._comments()), self._reached()
        return {device: items for device, items in told.items() if device in reached}

    def put(self, tunnel: str, anycast: tuple[str, ...]) -> None:
        """Exactly this kept off the tunnel, in one transaction, where it changes; the last takes the table along."""
        if not self._leads():
            if anycast or self._comments():
                self._build(_told(self._comments(_CHAIN)) | {tunnel: anycast})
            return
        comments = self._comments(tunnel)
        there = _told(comments).get(tunnel, ()) if tunnel in self._reached() else ()
        if there == anycast and (anycast or not comments):
            return
        self._commit(self._kept_off(tunnel, anycast) if anycast else self._let_go(tunnel))
        if not anycast and not self._reached():
            self._commit([(x.DELTABLE, 0, m.text(1, self.name))])

    def _leads(self) -> bool:
        """Whether the map is asked, and nothing else: an older version had all rules in this chain."""
        return self._comments(_CHAIN) == [_MAP]

    def _comments(self, chain: str = "") -> list[str]:
        """Of the rules of one chain, or of all."""
        return [x.comment_of(m.parse(body, 4)) for body in self._dump(x.GETRULE, m.text(2, chain) if chain else b"")]

    def _reached(self) -> frozenset[str]:
        """The tunnels whose frames come to a chain of theirs."""
        elements = [each for body in self._dump(x.GETSETELEM, m.text(2, _MAP)) for each in _elements(body)]
        return frozenset(device for device, chain in elements if device == chain)

    def _dump(self, kind: int, more: bytes = b"") -> list[bytes]:
        try:
            return list(self._channel.dump(x.SUBSYSTEM | kind, x.generic(x.BRIDGE) + m.text(1, self.name) + more))
        except NetlinkError as error:
            if error.errno in x.ABSENT:
                return []
            raise failure(error, f"nft table bridge {self.name}", "read it") from error

    def _commit(self, changes: list[x.Change]) -> None:
        try:
            x.transact(self._channel, x.BRIDGE, changes)
        except NetlinkError as error:
            raise failure(error, f"nft table bridge {self.name}", "change it") from error

    def _build(self, wanted: dict[str, tuple[str, ...]]) -> None:
        """The table anew, whatever was there."""
        table = m.text(1, self.name)
        changes: list[x.Change] = [
            (x.NEWTABLE, m.NLM_F_CREATE, table),  # so that there is one to delete
            (x.DELTABLE, 0, table),
        ]
        if any(wanted.values()):
            changes += [(x.NEWTABLE, m.NLM_F_CREATE, table), *self._frame()]
        for tunnel, anycast in wanted.items():
            if anycast:
                changes += self._kept_off(tunnel, anycast)
        self._commit(changes)

    def _frame(self) -> list[x.Change]:
        """The map, and the chain that asks it."""
        table = m.text(1, self.name)
        kind = m.be32(3, _IS_MAP) + m.be32(4, x.IFNAME_TYPE) + m.be32(5, x.IFNAME_LENGTH) + m.be32(6, _VERDICT)
        new_map = table + m.text(2, _MAP) + kind + m.be32(10, _MAP_ID) + x.NAMES_IN_HOST_ORDER
        hook = m.nested(4, m.be32(1, _POST_ROUTING), m.be32(2, 0))
        chain = table + m.text(3, _CHAIN) + hook + m.be32(5, 1) + m.text(7, "filter")
        lookup = m.text(1, _MAP) + m.be32(2, x.REG) + m.be32(3, x.VERDICT_REG) + m.be32(4, _MAP_ID)
        asks = m.nested(4, x.meta(x.META_OIFNAME), x.expression("lookup", lookup))
        rule = table + m.text(2, _CHAIN) + asks + m.attribute(7, x.comment(_MAP))
        return [
            (x.NEWSET, m.NLM_F_CREATE, new_map),
            (x.NEWCHAIN, m.NLM_F_CREATE, chain),
            (x.NEWRULE, m.NLM_F_CREATE | m.NLM_F_APPEND, rule),
        ]

    def _kept_off(self, tunnel: str, anycast: tuple[str, ...]) -> list[x.Change]:
        """The tunnel's chain with these rules alone, then the way there."""
        table = m.text(1, self.name)
        return [
            (x.NEWCHAIN, m.NLM_F_CREATE, table + m.text(3, tunnel)),
            (x.DELRULE, 0, table + m.text(2, tunnel)),
            *(self._rule(tunnel, item, match) for item in anycast for match in _matches(item)),
            (x.NEWSETELEM, m.NLM_F_CREATE, self._element(tunnel)),
        ]

    def _let_go(self, tunnel: str) -> list[x.Change]:
        """No way to the tunnel's chain, and no chain; what is missing of them is made first, to be there to delete."""
        table = m.text(1, self.name)
        return [
            (x.NEWCHAIN, m.NLM_F_CREATE, table + m.text(3, tunnel)),
            (x.NEWSETELEM, m.NLM_F_CREATE, self._element(tunnel)),
            (x.DELSETELEM, 0, self._element(tunnel)),
            (x.DELRULE, 0, table + m.text(2, tunnel)),
            (x.DELCHAIN, 0, table + m.text(3, tunnel)),
        ]

    def _element(self, tunnel: str) -> bytes:
        element = m.nested(1, m.nested(1, m.attribute(1, x.ifname(tunnel))), x.goto(tunnel))
        return m.text(1, self.name) + m.text(2, _MAP) + m.be32(4, _MAP_ID) + m.nested(3, element)

    def _rule(self, device: str, item: str, match: list[bytes]) -> x.Change:
        body = m.text(1, self.name) + m.text(2, device) + m.nested(4, *match, x.drop())
        return x.NEWRULE, m.NLM_F_CREATE | m.NLM_F_APPEND, body + m.attribute(7, x.comment(f"{device} {item}"))


def _told(comments: list[str]) -> dict[str, tuple[str, ...]]:
    """What rules say that they are for: two of each thing that is kept off a device."""
    told: dict[str, dict[str, int]] = {}
    for comment in comments:
        device, _, item = comment.partition(" ")
        if item:
            items = told.setdefault(device, {})
            items[item] = items.get(item, 0) + 1
    return {device: tuple(items) for device, items in told.items() if set(items.values()) == {2}}


def _elements(body: bytes) -> list[tuple[str, str]]:
    """(device, chain) of the map's elements in one message."""
    found = [m.parse(element) for element in m.parse_list(m.parse(body, 4).get(3, b""))]
    return [(m.to_text(m.parse(each.get(1, b"")).get(1)), _chain(each.get(2, b""))) for each in found]


def _chain(verdict: bytes) -> str:
    return m.to_text(m.parse(m.parse(verdict).get(2, b"")).get(2))


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
