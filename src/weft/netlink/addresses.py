"""IP addresses of links: read, added, removed (rtnetlink(7), uapi/linux/if_addr.h)."""

from __future__ import annotations

import errno
import ipaddress
import struct
from dataclasses import dataclass

from weft.netlink import message as m
from weft.netlink.channel import Channel, NetlinkError, failure
from weft.netlink.links import Link

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR = 5, 9
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ADDRESS, _LOCAL, _BROADCAST, _FLAGS = 1, 2, 4, 8
_NODAD = 0x02
_AF_INET, _AF_INET6 = 2, 10


@dataclass(frozen=True, slots=True)
class Address:
    """`text`: address and prefix length, as 10.1.1.11/24."""

    index: int
    text: str


class Addresses:
    """Addresses of the namespace that the channel lives in. Errors are WeftErrors that name the link."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def of(self, link: Link) -> tuple[str, ...]:
        """One link's addresses."""
        return self.dump(link.index).get(link.index, ())

    def dump(self, index: int = 0) -> dict[int, tuple[str, ...]]:
        """Link index → its addresses, in the kernel's order; of all links or of one."""
        try:
            bodies = self._channel.dump(RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, index))
        except NetlinkError as error:
            raise failure(error, "addresses", "read addresses") from error
        found: dict[int, tuple[str, ...]] = {}
        for body in bodies:
            address = decode(body)
            found[address.index] = (*found.get(address.index, ()), address.text)
        return found

    def add(self, link: Link, text: str) -> None:
        """No duplicate address detection: who has an address is Weft's to know, and the frames would be noise."""
        try:
            self._channel.request(RTM_NEWADDR, m.NLM_F_CREATE | m.NLM_F_REPLACE, _encode(link.index, text, True))
        except NetlinkError as error:
            raise failure(error, link.name, f"add address {text}") from error

    def delete(self, link: Link, text: str) -> None:
        try:
            self._channel.request(RTM_DELADDR, 0, _encode(link.index, text, False))
        except NetlinkError as error:
            if error.errno != errno.EADDRNOTAVAIL:  # gone already
                raise failure(error, link.name, f"remove address {text}") from error

    def make(self, link: Link, wanted: tuple[str, ...], there: tuple[str, ...]) -> None:
        """Exactly `wanted`, in that order of adding; what agrees is left alone."""
        gone = [text for text in there if text not in wanted]
        for text in gone:
            self.delete(link, text)
        if gone:  # a subnet's first address takes the others along
            there = self.of(link)
        for text in wanted:
            if text not in there:
                self.add(link, text)


def decode(body: bytes) -> Address:
    _, prefix, _, _, index = _IFADDRMSG.unpack_from(body)
    found = m.parse(body, 8)
    octets = found.get(_LOCAL) or found.get(_ADDRESS, b"")
    return Address(index, f"{ipaddress.ip_address(octets)}/{prefix}")


def _encode(index: int, text: str, adding: bool) -> bytes:
    interface = ipaddress.ip_interface(text)
    octets = interface.ip.packed
    family = _AF_INET if interface.version == 4 else _AF_INET6
    prefix = interface.network.prefixlen
    flags = _NODAD if adding and family == _AF_INET6 else 0
    body = (
        _IFADDRMSG.pack(family, prefix, flags, 0, index) + m.attribute(_LOCAL, octets) + m.attribute(_ADDRESS, octets)
    )
    if adding and family == _AF_INET and prefix < 31:
        body += m.attribute(_BROADCAST, interface.network.broadcast_address.packed)
    return body
