"""One nftables table of the bridge family: ARP that comes out of a tunnel goes no further than to who punts it.

    table bridge <name> {
        chain relayed {
            type filter hook forward priority 0; policy accept;
            meta protocol arp iifname <tunnel> drop
        }
    }

Without it a gateway's own stack would answer what another gateway relays, for hosts that nobody has, too. Packet
sockets see a frame before this hook. Each rule names its tunnel in its comment, so that the table can be read back.
"""

from __future__ import annotations

from weft.netlink import message as m
from weft.netlink import nft_message as x
from weft.netlink.channel import NetlinkError, failure
from weft.netlink.namespace import Namespace

_FORWARD = 2  # NF_BR_FORWARD
_CHAIN = "relayed"
_ARP = b"\x08\x06"


class RelayTable:
    """The table of one namespace; `name` is ours alone. Errors are WeftErrors that name the table."""

    def __init__(self, name: str, namespace: Namespace) -> None:
        self.name = name
        self._channel = x.channel(f"nft table bridge {name}", namespace)

    def close(self) -> None:
        self._channel.close()

    def observe(self) -> frozenset[str]:
        """The tunnels that the table names."""
        try:
            bodies = self._channel.dump(x.SUBSYSTEM | x.GETRULE, x.generic(x.BRIDGE) + m.text(1, self.name))
        except NetlinkError as error:
            if error.errno in x.ABSENT:
                return frozenset()
            raise failure(error, f"nft table bridge {self.name}", "read it") from error
        return frozenset(x.comment_of(m.parse(body, 4)) for body in bodies)

    def put(self, tunnel: str, relayed: bool) -> None:
        """The tunnel in the table or not; the whole table in one transaction, where it changes."""
        there = self.observe()
        if (tunnel in there) is relayed:
            return
        wanted = there | {tunnel} if relayed else there - {tunnel}
        table = m.text(1, self.name)
        changes: list[x.Change] = [
            (x.NEWTABLE, m.NLM_F_CREATE, table),  # so that there is one to delete, whatever was there
            (x.DELTABLE, 0, table),
        ]
        if wanted:
            hook = m.nested(4, m.be32(1, _FORWARD), m.be32(2, 0))
            chain = table + m.text(3, _CHAIN) + hook + m.be32(5, 1) + m.text(7, "filter")
            changes += [(x.NEWTABLE, m.NLM_F_CREATE, table), (x.NEWCHAIN, m.NLM_F_CREATE, chain)]
            changes += [self._rule(device) for device in sorted(wanted)]
        try:
            x.transact(self._channel, x.BRIDGE, changes)
        except NetlinkError as error:
            raise failure(error, f"nft table bridge {self.name}", "change it") from error

    def _rule(self, device: str) -> x.Change:
        expressions = [
            x.meta(x.META_PROTOCOL),
            x.compare(_ARP),
            x.meta(x.META_IIFNAME),
            x.compare(x.ifname(device)),
            x.drop(),
        ]
        body = m.text(1, self.name) + m.text(2, _CHAIN) + m.nested(4, *expressions)
        return x.NEWRULE, m.NLM_F_CREATE | m.NLM_F_APPEND, body + m.attribute(7, x.comment(device))
