"""One nftables table of the netdev family: what comes in by the devices named never reaches this host's own stack.

    table netdev <name> {
        chain "eth1" { type filter hook ingress device "eth1" priority -500; policy drop; }
    }

For devices that another program reads by packet sockets, which see frames before this hook (__netif_receive_skb_core,
net/core/dev.c); else the host answers beside it. A device that vanishes takes its chain along.
"""

from __future__ import annotations

import errno
import struct

from weft.netlink import message as m
from weft.netlink.channel import NETLINK_NETFILTER, Channel, NetlinkError, failure
from weft.netlink.namespace import Namespace

_SUBSYSTEM = 10 << 8
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEWTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _DELCHAIN = 0, 2, 3, 4, 5
_NFPROTO_NETDEV, _INGRESS, _PRIORITY, _DROP = 5, 0, -500, 0
_TABLE, _NAME, _HOOK, _POLICY, _TYPE = 1, 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY, _HOOK_DEVICE = 1, 2, 3
_GENERIC = struct.pack(">BBH", _NFPROTO_NETDEV, 0, 0)
_ABSENT = frozenset({errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL})


class IngressTable:
    """The table of one namespace; `name` is ours alone. Errors are WeftErrors that name the table."""

    def __init__(self, name: str, namespace: Namespace = None) -> None:
        self.name = name
        self._channel = Channel(NETLINK_NETFILTER, namespace)

    def close(self) -> None:
        self._channel.close()

    def devices(self) -> frozenset[str]:
        """The devices that are shut."""
        try:
            found = self._channel.dump(_SUBSYSTEM | _GETCHAIN, _GENERIC + m.text(_TABLE, self.name))
        except NetlinkError as error:
            if error.errno in _ABSENT:
                return frozenset()
            raise self._failed(error, "read it") from error
        chains = [m.parse(body, 4) for body in found]
        return frozenset(m.to_text(chain.get(_NAME)) for chain in chains if m.to_text(chain.get(_TABLE)) == self.name)

    def shut(self, device: str) -> None:
        """From here on the host's own stack hears nothing from the device."""
        if device in self.devices():
            return
        hook = m.nested(
            _HOOK,
            m.be32(_HOOK_NUMBER, _INGRESS),
            m.attribute(_HOOK_PRIORITY, struct.pack(">i", _PRIORITY)),
            m.text(_HOOK_DEVICE, device),
        )
        chain = (
            m.text(_TABLE, self.name) + m.text(_NAME, device) + hook + m.be32(_POLICY, _DROP) + m.text(_TYPE, "filter")
        )
        self._transact((_NEWTABLE, m.NLM_F_CREATE, m.text(_TABLE, self.name)), (_NEWCHAIN, m.NLM_F_CREATE, chain))

    def open(self, device: str) -> None:
        """The device as others are; the last one takes the table along."""
        there = self.devices()
        if device in there:
            self._transact((_DELCHAIN, 0, m.text(_TABLE, self.name) + m.text(_NAME, device)))
        if there <= {device}:
            try:
                self._transact((_DELTABLE, 0, m.text(_TABLE, self.name)))
            except NetlinkError as error:
                if error.errno not in _ABSENT:
                    raise self._failed(error, "remove it") from error

    def _failed(self, error: NetlinkError, doing: str) -> Exception:
        return failure(error, f"nft table netdev {self.name}", doing)

    def _transact(self, *changes: tuple[int, int, bytes]) -> None:
        """All or nothing: the messages between two marks, in one send; each is answered. Raises NetlinkError."""
        first = self._channel.sequence + 1
        mark = struct.pack(">BBH", 0, 0, 10)
        batch = [m.message(_BATCH_BEGIN, m.NLM_F_REQUEST, first, mark)]
        for number, (kind, flags, attributes) in enumerate(changes, first + 1):
            flags |= m.NLM_F_REQUEST | m.NLM_F_ACK
            batch.append(m.message(_SUBSYSTEM | kind, flags, number, _GENERIC + attributes))
        self._channel.sequence = first + len(changes) + 1
        batch.append(m.message(_BATCH_END, m.NLM_F_REQUEST, self._channel.sequence, mark))
        self._channel.socket.send(b"".join(batch))
        for _, error in self._channel.errors():
            if error.errno in _ABSENT and changes[0][0] == _DELTABLE:
                raise error
            raise self._failed(error, "change it") from error
