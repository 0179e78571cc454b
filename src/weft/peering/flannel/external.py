"""The device and addresses by which this node meets the others: found by flannel's rules, watched for changes.

-iface names devices or addresses, -iface-regex matches them, -iface-can-reach takes the way to an address; the first
that leads to one with the addresses needed is taken. Without any it is the device of the default route. -public-ip and
-public-ipv6 say what others see where that is not the device's own address. Source: flannel's pkg/ipmatch/match.go.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

from weft.model.errors import Kind, WeftError
from weft.netlink import message as m
from weft.netlink.addresses import RTM_DELADDR, RTM_NEWADDR, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, Addresses
from weft.netlink.channel import Channel
from weft.netlink.links import RTM_NEWLINK, RTNLGRP_LINK, Link, Links
from weft.netlink.namespace import Namespace
from weft.netlink.reach import default_device, way
from weft.peering.flannel.backend import External

Address = IPv4Address | IPv6Address
_REMEDY = "name the right one with -iface"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the options say."""

    interfaces: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    can_reach: str = ""
    public: IPv4Address | None = None
    public6: IPv6Address | None = None


class Underlay:
    """Of one namespace."""

    def __init__(self, namespace: Namespace, wish: Wish, *, four: bool, six: bool) -> None:
        self._wish, self._versions = wish, [version for version, wanted in ((4, four), (6, six)) if wanted]
        self._channel = Channel(namespace=namespace)
        self._ear = Channel(
            namespace=namespace, groups=(RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR), buffer=1 << 20
        )
        self._index = 0
        self._mtu = 0

    def close(self) -> None:
        self._channel.close()
        self._ear.close()

    def find(self, before: External | None = None) -> External:
        """Raises NOT_FOUND. Addresses that it had `before` are kept while the device has them."""
        links = {link.index: link for link in Links(self._channel).dump()}
        addresses = {
            index: tuple(ip_interface(text).ip for text in texts)
            for index, texts in Addresses(self._channel).dump().items()
        }
        reasons: list[str] = []
        for link, pinned in self._candidates(links, addresses, reasons):
            chosen = {version: self._of(addresses.get(link.index, ()), version, pinned, before) for version in (4, 6)}
            lacking = [version for version in self._versions if chosen[version] is None]
            if lacking:
                reasons.append(f"{link.name} has no IPv{lacking[0]} address")
                continue
            return self._external(link, chosen)
        raise WeftError(
            Kind.NOT_FOUND, "no device leads to the other nodes: " + ("; ".join(reasons) or "none is there"),
            remedy=_REMEDY,
        )  # fmt: skip

    def _external(self, link: Link, chosen: Mapping[int, Address | None]) -> External:
        self._index, self._mtu = link.index, link.mtu
        four, six = (chosen[version] if version in self._versions else None for version in (4, 6))
        assert not isinstance(four, IPv6Address)
        assert not isinstance(six, IPv4Address)
        public = (self._wish.public or four) if 4 in self._versions else None
        public6 = (self._wish.public6 or six) if 6 in self._versions else None
        return External(link.name, link.index, link.mtu, four, six, public, public6)

    def _candidates(
        self, links: Mapping[int, Link], addresses: Mapping[int, Sequence[Address]], reasons: list[str]
    ) -> Iterator[tuple[Link, Address | None]]:
        """(device, the address that names it)."""
        wish = self._wish
        named = wish.interfaces or wish.patterns or wish.can_reach
        own = wish.public or wish.public6
        for name in wish.interfaces or ((str(own),) if own and not named else ()):
            pinned = _address(name)
            found = [
                link
                for link in links.values()
                if (pinned in addresses.get(link.index, ()) if pinned else link.name == name)
            ]
            yield from ((link, pinned) for link in found)
            if not found and wish.interfaces:
                reasons.append(f"no device {'has ' if pinned else ''}{name}")
        for pattern in wish.patterns:
            for link in links.values():
                matching = [ip for ip in addresses.get(link.index, ()) if re.search(pattern, str(ip))]
                if matching or re.search(pattern, link.name):
                    yield link, matching[0] if matching else None
            reasons.append(f"no other device matches {pattern}")
        if wish.can_reach and (target := _address(wish.can_reach)):
            found_way = way(self._channel, target)
            if found_way is None or found_way.index not in links:
                reasons.append(f"no route leads to {target}")
            else:
                yield links[found_way.index], found_way.source
        if not named:
            index = default_device(self._channel, self._versions[0])
            if index is None or index not in links:
                reasons.append("there is no default route")
            else:
                yield links[index], None

    @staticmethod
    def _of(
        there: Sequence[Address], version: int, pinned: Address | None, before: External | None
    ) -> Address | None:  # fmt: skip
        had = None if before is None else before.address if version == 4 else before.address6
        mine = [ip for ip in there if ip.version == version]
        for wanted in (pinned, had):
            if wanted is not None and wanted in mine:
                return wanted
        return next((ip for ip in mine if not ip.is_link_local), mine[0] if mine and version == 4 else None)

    # -- changes --------------------------------------------------------------------------------------------------

    async def changed(self) -> None:
        """Returns once addresses, or the device, may be others than when they were found."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._ear.fileno(), readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                if self._drained():
                    return
        finally:
            loop.remove_reader(self._ear.fileno())

    def _drained(self) -> bool:
        """Reads all that waits; whether it matters."""
        return bool([told for told in self._ear.heard() if told is None or self._matters(*told)])

    def _matters(self, kind: int, cause: int, body: bytes) -> bool:
        if kind == RTM_NEWLINK and struct.unpack_from("=i", body, 4)[0] == self._index:
            return m.to_int(m.parse(body, 16).get(4), self._mtu) != self._mtu  # IFLA_MTU
        return kind in (RTM_NEWADDR, RTM_DELADDR)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
