"""One nftables table of the bridge family: ARP and ND never leave by the devices named in a set.

    table bridge <name> {
        set suppressed { type ifname; elements = { "wx5000", … } }
        chain out {
            type filter hook postrouting priority 0; policy accept;
            meta protocol arp oifname @suppressed counter drop
            meta protocol ip6 icmpv6 type 133-137 oifname @suppressed counter drop             ND, RFC 4861 section 4
        }
    }

Every bridged frame of the host passes this hook, so what is cheap and mostly false is asked first: a device's name is
copied, and looked up in the set, for ARP and ND alone.

Said to the kernel in its own messages (uapi/linux/netfilter/nf_tables.h), one transaction a change, so that no `nft`
program is needed. A frame leaves a bridge by a port through this hook, whether it was forwarded or came from the
host itself. Numbers inside nftables messages are big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.netlink import message as m
from weft.netlink import nft_message as x
from weft.netlink.channel import NetlinkError, failure
from weft.netlink.namespace import Namespace

NFNLGRP_NFTABLES = 7
_POST_ROUTING = 4
_SET, _CHAIN = "suppressed", "out"
_SET_ID = 1
_ARP, _IPV6, _ICMPV6 = b"\x08\x06", b"\x86\xdd", b"\x3a"
_ND_FIRST, _ND_LAST = b"\x85", b"\x89"

_RULES = ("ARP", "ND")  # each rule's name, kept as its comment; "arp" and "nd" are an older version's, which cost more


@dataclass(frozen=True, slots=True)
class Suppression:
    """What stands in the kernel: devices in the set, packets dropped by each rule; `whole`: chain and rules stand."""

    devices: frozenset[str] = frozenset()
    dropped: tuple[int, ...] = ()
    whole: bool = False


class SuppressTable:
    """The table of one namespace; `name` is ours alone. Errors are WeftErrors that name the table."""

    def __init__(self, name: str = "weft", namespace: Namespace = None) -> None:
        self.name = name
        self._channel = x.channel(f"nft table bridge {name}", namespace)

    def close(self) -> None:
        self._channel.close()

    def observe(self) -> Suppression:
        try:
            elements = self._channel.dump(
                x.SUBSYSTEM | x.GETSETELEM, _generic() + m.text(1, self.name) + m.text(2, _SET)
            )
            dropped = self._dropped()
        except NetlinkError as error:
            if error.errno in x.ABSENT:
                return Suppression()
            raise failure(error, f"nft table bridge {self.name}", "read it") from error
        devices = frozenset(name for body in elements for name in _devices(body))
        return Suppression(devices, tuple((dropped or {}).values()), dropped is not None)

    def _dropped(self) -> dict[str, int] | None:
        """Packets dropped by each rule; None where chain or rules are not as we make them."""
        where = _generic() + m.text(1, self.name)
        rules = dict(_rule(body) for body in self._channel.dump(x.SUBSYSTEM | x.GETRULE, where + m.text(2, _CHAIN)))
        chain = self._channel.get(x.SUBSYSTEM | x.GETCHAIN, where + m.text(3, _CHAIN))
        return rules if tuple(rules) == _RULES and chain is not None and _hooked(chain) else None

    def _stands(self) -> bool:
        try:
            return self._dropped() is not None
        except NetlinkError:
            return False

    def add(self, device: str) -> None:
        """The device in the set, whatever was there; an incomplete table is built anew in one transaction."""
        if self._stands():
            self._commit((x.NEWSETELEM, m.NLM_F_CREATE, self._elements([device])))
        else:
            self._build(self.observe().devices | {device})

    def remove(self, device: str) -> None:
        """The device out of the set; the last one takes the table along."""
        try:
            x.transact(self._channel, x.BRIDGE, [(x.DELSETELEM, 0, self._elements([device]))])
        except NetlinkError as error:
            if error.errno in x.ABSENT:
                return
            raise failure(error, f"nft table bridge {self.name}", "change it") from error
        if not self.observe().devices:
            self._commit((x.DELTABLE, 0, m.text(1, self.name)))

    def _build(self, devices: frozenset[str]) -> None:
        hook = m.nested(4, m.be32(1, _POST_ROUTING), m.be32(2, 0))
        new_set = (
            m.text(1, self.name)
            + m.text(2, _SET)
            + m.be32(3, 0)
            + m.be32(4, x.IFNAME_TYPE)
            + m.be32(5, x.IFNAME_LENGTH)
            + m.be32(10, _SET_ID)
            + x.NAMES_IN_HOST_ORDER
        )
        table = m.text(1, self.name)
        self._commit(
            (x.NEWTABLE, m.NLM_F_CREATE, table),  # so that there is one to delete, whatever was there
            (x.DELTABLE, 0, table),
            (x.NEWTABLE, m.NLM_F_CREATE, table),
            (x.NEWSET, m.NLM_F_CREATE, new_set),
            (
                x.NEWCHAIN,
                m.NLM_F_CREATE,
                m.text(1, self.name) + m.text(3, _CHAIN) + hook + m.be32(5, 1) + m.text(7, "filter"),
            ),
            (
                x.NEWRULE,
                m.NLM_F_CREATE | m.NLM_F_APPEND,
                self._new_rule("ARP", x.meta(x.META_PROTOCOL), x.compare(_ARP)),
            ),
            (
                x.NEWRULE,
                m.NLM_F_CREATE | m.NLM_F_APPEND,
                self._new_rule(
                    "ND",
                    x.meta(x.META_PROTOCOL),
                    x.compare(_IPV6),
                    x.meta(x.META_L4PROTO),
                    x.compare(_ICMPV6),
                    x.payload(x.TRANSPORT_HEADER, 0, 1),
                    x.ranged(_ND_FIRST, _ND_LAST),
                ),
            ),
            (x.NEWSETELEM, m.NLM_F_CREATE, self._elements(sorted(devices))),
        )

    def _new_rule(self, name: str, *matches: bytes) -> bytes:
        lookup = x.expression("lookup", m.text(1, _SET) + m.be32(2, x.REG) + m.be32(4, _SET_ID))
        expressions = (
            *matches,
            x.meta(x.META_OIFNAME),
            lookup,
            x.expression("counter", b""),
            x.drop(),
        )
        return m.text(1, self.name) + m.text(2, _CHAIN) + m.nested(4, *expressions) + m.attribute(7, x.comment(name))

    def _elements(self, devices: list[str]) -> bytes:
        keys = [m.nested(1, m.nested(1, m.attribute(1, x.ifname(name)))) for name in devices]
        return m.text(1, self.name) + m.text(2, _SET) + m.be32(4, _SET_ID) + m.nested(3, *keys)

    def _commit(self, *changes: tuple[int, int, bytes]) -> None:
        try:
            x.transact(self._channel, x.BRIDGE, list(changes))
        except NetlinkError as error:
            raise failure(error, f"nft table bridge {self.name}", "change it") from error


def _generic() -> bytes:
    return x.generic(x.BRIDGE)


def _devices(body: bytes) -> list[str]:
    elements = m.parse_list(m.parse(body, 4).get(3, b""))
    return [m.to_text(m.parse(m.parse(element).get(1, b"")).get(1)) for element in elements]


def _rule(body: bytes) -> tuple[str, int]:
    """(name, packets dropped) of a rule."""
    found = m.parse(body, 4)
    packets = 0
    for expression in m.parse_list(found.get(4, b"")):
        parts = m.parse(expression)
        if parts.get(1) == b"counter\0":
            packets = int.from_bytes(m.parse(parts.get(2, b"")).get(2, b""), "big")
    return x.comment_of(found), packets


def _hooked(body: bytes) -> bool:
    hook = m.parse(m.parse(body, 4).get(4, b""))
    return int.from_bytes(hook.get(1, b""), "big") == _POST_ROUTING


def table_of(kind: int, body: bytes, family: int = x.BRIDGE) -> str | None:
    """The table of this family that a notification of NFNLGRP_NFTABLES is about: attribute 1 of all but a mark."""
    if kind >> 8 != x.SUBSYSTEM >> 8 or len(body) < 4 or body[0] != family:
        return None
    return m.to_text(m.parse(body, 4).get(1))
