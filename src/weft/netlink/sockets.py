"""The sockets by which one namespace is configured, each opened when it is first needed and kept until `close`."""

from __future__ import annotations

import socket
from functools import cached_property

from weft.netlink.addresses import Addresses
from weft.netlink.bulk import Bulk
from weft.netlink.channel import Channel
from weft.netlink.links import Links
from weft.netlink.namespace import socket_in


class Sockets:
    """`namespace` None: the process's own. What who derives caches as a property is closed likewise."""

    def __init__(self, namespace: str | None) -> None:
        self.namespace = namespace

    @cached_property
    def channel(self) -> Channel:
        return Channel(namespace=self.namespace)

    @cached_property
    def links(self) -> Links:
        return Links(self.channel)

    @cached_property
    def addresses(self) -> Addresses:
        return Addresses(self.channel)

    @cached_property
    def bulk(self) -> Bulk:
        return Bulk(self.namespace)

    @cached_property
    def raw(self) -> socket.socket:
        """For frames out of any device; none come in. To close it takes the kernel a grace period of RCU
        (packet_release)."""
        return socket_in(self.namespace, socket.AF_PACKET, socket.SOCK_RAW)

    def close(self) -> None:
        for name in [name for name in vars(self) if isinstance(getattr(type(self), name, None), cached_property)]:
            close = getattr(vars(self).pop(name), "close", None)
            if close:
                close()
