"""NAT for containers on their way out of the overlay, as one nftables table of our own, replaced as a whole.

    table inet weft-flannel {
        chain out { type nat hook postrouting priority srcnat;
            meta mark & 0x4000 == 0x4000 return                           kube-proxy's mark: translated there already
            ip saddr <network> ip daddr <network> return                  overlay to overlay
            ip saddr != <network> ip daddr <own subnet> return            from outside to a container of this node
            ip saddr <network> ip daddr != 224.0.0.0/4 masquerade fully-random
            ip saddr != <network> ip daddr <network> masquerade fully-random      from outside, on to another node
        } }

and the same for IPv6, with ff00::/8. Each rule is known by its comment when the table is read back. Source: the rules
of flannel's pkg/trafficmngr/iptables/iptables.go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from weft.netlink import message as m
from weft.netlink import nft_message as x
from weft.netlink.channel import NetlinkError, failure
from weft.netlink.namespace import Namespace
from weft.peering.flannel.config import NetworkConfig
from weft.peering.flannel.lease import Lease

TABLE, _CHAIN = "weft-flannel", "out"
_POST_ROUTING, _SRC_NAT = 4, 100
_MARK = struct.pack("=I", 0x4000)
_FULLY_RANDOM = 16  # NF_NAT_RANGE_PROTO_RANDOM_FULLY
_AT = {(4, "saddr"): 12, (4, "daddr"): 16, (6, "saddr"): 8, (6, "daddr"): 24}

Network = IPv4Network | IPv6Network
_MULTICAST: dict[int, Network] = {4: IPv4Network("224.0.0.0/4"), 6: IPv6Network("ff00::/8")}


class Masquerade:
    """The table of one namespace. `fully_random`: whether source ports are drawn at random, against races for one.
    Errors are WeftErrors that name it."""

    def __init__(self, namespace: Namespace = None, fully_random: bool = True) -> None:
        self._fully_random = fully_random
        self._where = f"nft table inet {TABLE}"
        self._channel = x.channel(self._where, namespace)

    def close(self) -> None:
        self._channel.close()

    def stands(self, config: NetworkConfig, own: Lease) -> bool:
        """Whether the table is as `put` would make it."""
        return self._observe() == tuple(told for told, _ in _rules(config, own, self._fully_random))

    def put(self, config: NetworkConfig, own: Lease) -> None:
        """The whole table in one transaction; connections that stand keep their translation."""
        table = m.text(1, TABLE)
        hook = m.nested(4, m.be32(1, _POST_ROUTING), m.attribute(2, struct.pack(">i", _SRC_NAT)))
        chain = m.text(1, TABLE) + m.text(3, _CHAIN) + hook + m.be32(5, 1) + m.text(7, "nat")
        where = m.text(1, TABLE) + m.text(2, _CHAIN)
        rules = [
            (x.NEWRULE, m.NLM_F_CREATE | m.NLM_F_APPEND, where + m.nested(4, *body) + m.attribute(7, x.comment(told)))
            for told, body in _rules(config, own, self._fully_random)
        ]
        self._commit(
            [
                (x.NEWTABLE, m.NLM_F_CREATE, table),  # so that there is one to delete, whatever was there
                (x.DELTABLE, 0, table),
                (x.NEWTABLE, m.NLM_F_CREATE, table),
                (x.NEWCHAIN, m.NLM_F_CREATE, chain),
                *rules,
            ]
        )

    def drop(self) -> bool:
        """No table, whatever was there; whether there was one."""
        if not self._observe():
            return False
        table = m.text(1, TABLE)
        self._commit([(x.NEWTABLE, m.NLM_F_CREATE, table), (x.DELTABLE, 0, table)])
        return True

    def _observe(self) -> tuple[str, ...]:
        try:
            bodies = self._channel.dump(x.SUBSYSTEM | x.GETRULE, x.generic(x.INET) + m.text(1, TABLE))
        except NetlinkError as error:
            if error.errno in x.ABSENT:
                return ()
            raise failure(error, self._where, "read it") from error
        return tuple(x.comment_of(m.parse(body, 4)) for body in bodies)

    def _commit(self, changes: list[x.Change]) -> None:
        try:
            x.transact(self._channel, x.INET, changes)
        except NetlinkError as error:
            remedy = "load the modules nft_nat and nft_masq, or leave -ip-masq out" if error.errno in x.ABSENT else ""
            raise failure(error, self._where, "change it", remedy) from error


def _rules(config: NetworkConfig, own: Lease, fully_random: bool) -> Iterator[tuple[str, list[bytes]]]:
    """(comment, expressions) in order."""
    yield "marked return", [x.meta(x.META_MARK), x.masked(_MARK), x.compare(_MARK), x.leave()]
    masquerade = x.expression("masq", m.be32(1, _FULLY_RANDOM) if fully_random else b"")
    how = "masquerade" if fully_random else "masquerade, ports not at random"
    for pool, subnet in ((config.four, own.subnet), (config.six, own.subnet6)):
        if pool is None or subnet is None:
            continue
        network = pool.network
        family = [x.meta(x.META_NFPROTO), x.compare(bytes([x.IPV4 if network.version == 4 else x.IPV6]))]
        for source, to, inside, verdict in (
            (True, True, network, "return"),
            (False, True, subnet, "return"),
            (True, False, _MULTICAST[network.version], ""),
            (False, True, network, ""),
        ):
            told = f"{'' if source else '!'}{network} {'' if to else '!'}{inside} {verdict or how}"
            match = [*family, *_within("saddr", network, source), *_within("daddr", inside, to)]
            yield told, [*match, x.leave() if verdict else masquerade]


def _within(side: str, network: Network, equal: bool) -> list[bytes]:
    size = network.max_prefixlen // 8
    load = x.payload(x.NETWORK_HEADER, _AT[network.version, side], size)
    return [load, x.masked(network.netmask.packed), x.compare(network.network_address.packed, equal=equal)]
