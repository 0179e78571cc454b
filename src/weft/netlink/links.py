"""Links of one namespace: read as values, made and changed by single messages (rtnetlink(7), uapi/linux/if_link.h).

A `Link` keeps what we look at and no more. Its kind's own settings stay attributes by number (`info`, `port`), which
the constants here name; `vxlan.py`-like knowledge belongs to whoever makes such a device.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import struct
from dataclasses import dataclass, field, replace

from weft.netlink import message as m
from weft.netlink.channel import Channel, NetlinkError, failure

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTNLGRP_LINK = 1
IFF_UP, IFF_RUNNING = 0x1, 0x40

# struct ifinfomsg { u8 family; u8 pad; u16 type; i32 index; u32 flags; u32 change; }
_IFINFOMSG = struct.Struct("=BxHiII")

_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO = 1, 3, 4, 5, 10, 18
_IFALIAS, _STATS64, _AF_SPEC, _GROUP, _NET_NS_FD, _LINK_NETNSID = 20, 23, 26, 27, 28, 37
_KIND, _DATA, _SLAVE_KIND, _SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER = 1
_INET6, _INET6_CONF, _INET6_ADDR_GEN_MODE = 10, 2, 8
_DEVCONF_ACCEPT_RA = 3
ADDRGEN_NONE = 1


class Bridge:
    """IFLA_BR_…; times in hundredths of a second."""

    FORWARD_DELAY, AGEING_TIME, STP_STATE, MCAST_SNOOPING = 1, 4, 5, 23


class BridgePort:
    """IFLA_BRPORT_…"""

    MODE, LEARNING, UNICAST_FLOOD, MCAST_FLOOD, BCAST_FLOOD = 4, 8, 9, 27, 30
    NEIGH_SUPPRESS, ISOLATED, LOCKED = 32, 33, 39


class Vxlan:
    """IFLA_VXLAN_…; ageing in seconds, the port in network byte order."""

    ID, GROUP, LINK, LOCAL, TTL, LEARNING, AGEING, PORT, GROUP6, LOCAL6, GBP = 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 23


class Macvlan:
    """IFLA_MACVLAN_…"""

    MODE, PRIVATE = 1, 1


@dataclass(frozen=True, slots=True)
class Link:
    """`lower`: the index of the device below or of a veth's peer (IFLA_LINK), which stands in the namespace that this
    one calls `netnsid` (-1: the same one). `stats`: struct rtnl_link_stats64."""

    index: int
    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 0
    up: bool = False
    master: int = 0
    lower: int = 0
    netnsid: int = -1
    alias: str = ""
    addrgen: int | None = None
    accept_ra: int | None = None
    info: m.Attributes = field(default_factory=dict)
    port: m.Attributes = field(default_factory=dict)
    stats: bytes = b""
    group: int = 0

    def info_int(self, kind: int) -> int:
        return m.to_int(self.info.get(kind))

    def port_int(self, kind: int) -> int | None:
        return m.to_int(self.port[kind]) if kind in self.port else None

    def port_is(self, flags: dict[int, int]) -> bool:
        """Whether its bridge port flags are these, as far as this kernel knows them."""
        return all(self.port_int(kind) in (value, None) for kind, value in flags.items())

    @property
    def counters(self) -> tuple[int, int, int, int, int, int]:
        """Packets received, octets received, packets sent, octets sent, dropped on reception, dropped on sending."""
        if len(self.stats) < 64:
            return (0,) * 6
        rx, tx, rx_octets, tx_octets, _, _, rx_dropped, tx_dropped = struct.unpack_from("=8Q", self.stats)
        return rx, rx_octets, tx, tx_octets, rx_dropped, tx_dropped


def decode(body: bytes) -> Link:
    """A Link out of the body of an RTM_NEWLINK message."""
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    found = m.parse(body, 16)
    info = m.parse(found.get(_LINKINFO, b""))
    inet6 = m.parse(m.parse(found.get(_AF_SPEC, b"")).get(_INET6, b""))
    conf = inet6.get(_INET6_CONF, b"")
    return Link(
        index=index,
        name=m.to_text(found.get(_IFNAME)),
        kind=m.to_text(info.get(_KIND)),
        mac=found.get(_ADDRESS, b"").hex(":"),
        mtu=m.to_int(found.get(_MTU)),
        up=bool(flags & IFF_UP),
        master=m.to_int(found.get(_MASTER)),
        lower=m.to_int(found.get(_LINK)),
        netnsid=struct.unpack("=i", found[_LINK_NETNSID])[0] if _LINK_NETNSID in found else -1,
        alias=m.to_text(found.get(_IFALIAS)),
        addrgen=m.to_int(inet6[_INET6_ADDR_GEN_MODE]) if _INET6_ADDR_GEN_MODE in inet6 else None,
        accept_ra=struct.unpack_from("=i", conf, 4 * _DEVCONF_ACCEPT_RA)[0] if len(conf) >= 16 else None,
        info=m.parse(info.get(_DATA, b"")),
        port=m.parse(info.get(_SLAVE_DATA, b"")) if info.get(_SLAVE_KIND) == b"bridge\0" else {},
        stats=found.get(_STATS64, b""),
        group=m.to_int(found.get(_GROUP)),
    )


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a veth pair, in the namespace of an open file descriptor."""

    name: str
    mac: str
    mtu: int
    namespace: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What to state of a link; None leaves it as it is. `master` 0 releases it; `info`, `port`: encoded attributes.

    `lower`: the index of the device below, at creation. `namespace`: an open file of the one that it moves to.
    """

    name: str | None = None
    mac: str | None = None
    mtu: int | None = None
    up: bool | None = None
    master: int | None = None
    lower: int | None = None
    namespace: int | None = None
    alias: str | None = None
    quiet: bool = False  # no IPv6 address made by the kernel itself
    kind: str | None = None
    info: bytes = b""
    port: bytes = b""

    def encode(self, index: int = 0, peer: Peer | None = None) -> bytes:
        flags = IFF_UP if self.up else 0
        parts = [_IFINFOMSG.pack(0, 0, index, flags, 0 if self.up is None else IFF_UP)]
        if self.name is not None:
            parts.append(m.text(_IFNAME, self.name))
        if self.mac is not None:
            parts.append(m.attribute(_ADDRESS, bytes.fromhex(self.mac.replace(":", ""))))
        if self.mtu is not None:
            parts.append(m.u32(_MTU, self.mtu))
        if self.master is not None:
            parts.append(m.u32(_MASTER, self.master))
        if self.lower is not None:
            parts.append(m.u32(_LINK, self.lower))
        if self.namespace is not None:
            parts.append(m.u32(_NET_NS_FD, self.namespace))
        if self.alias is not None:
            parts.append(m.attribute(_IFALIAS, self.alias.encode()))
        parts.append(self._linkinfo(peer))
        return b"".join(parts)

    def _linkinfo(self, peer: Peer | None) -> bytes:
        parts = []
        if self.kind:
            parts.append(m.text(_KIND, self.kind))
        data = self.info
        if peer:
            other = [Change(name=peer.name, mac=peer.mac, mtu=peer.mtu).encode()]
            if peer.namespace is not None:
                other.append(m.u32(_NET_NS_FD, peer.namespace))
            data += m.nested(_VETH_PEER, *other)
        if data:
            parts.append(m.nested(_DATA, data))
        if self.port:
            parts += [m.text(_SLAVE_KIND, "bridge"), m.nested(_SLAVE_DATA, self.port)]
        return m.nested(_LINKINFO, *parts) if parts else b""


class Links:
    """Links of the namespace that the channel lives in. Errors are WeftErrors that name the link."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def dump(self, master: int = 0) -> list[Link]:
        """All links, or the ports of one bridge."""
        body = _IFINFOMSG.pack(0, 0, 0, 0, 0)
        if master:
            body += m.u32(_MASTER, master)
        try:
            return [decode(found) for found in self._channel.dump(RTM_GETLINK, body)]
        except NetlinkError as error:
            raise failure(error, "links", "read links") from error

    def get(self, name: str) -> Link | None:
        try:
            found = self._channel.get(RTM_GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0) + m.text(_IFNAME, name))
        except NetlinkError as error:
            raise failure(error, name, "read the link") from error
        return None if found is None else decode(found)

    def get_index(self, index: int) -> Link | None:
        try:
            found = self._channel.get(RTM_GETLINK, _IFINFOMSG.pack(0, 0, index, 0, 0))
        except NetlinkError as error:
            raise failure(error, f"link {index}", "read the link") from error
        return None if found is None else decode(found)

    def create(self, change: Change, peer: Peer | None = None) -> Link:
        """`change` names it and says its kind. The link as the kernel made it.

        The kernel takes an alias only for a link that exists. Both messages go in one send, so that a process killed
        here never leaves a device that does not say whose it is.
        """
        name = change.name or ""
        first = replace(change, alias=None)
        then = Change(name=name, alias=change.alias)
        try:
            self._channel.together(
                (RTM_NEWLINK, m.NLM_F_CREATE | m.NLM_F_EXCL, first.encode(peer=peer)),
                (RTM_NEWLINK, 0, then.encode()),
            )
            made = self.get(name)
            if made is None:
                raise NetlinkError(errno.ENODEV)
        except NetlinkError as error:
            raise failure(error, name, f"create the {change.kind} device") from error
        if change.quiet:
            self._quiet(made)
        return made

    def change(self, link: Link, change: Change) -> None:
        try:
            self._channel.request(RTM_NEWLINK, 0, change.encode(link.index))
        except NetlinkError as error:
            raise failure(error, link.name, f"change {_told(change)}") from error
        if change.quiet:
            self._quiet(link)

    def _quiet(self, link: Link) -> None:
        """No IPv6 address made by the kernel. A link with an MTU below 1280 has no IPv6 at all, and is quiet."""
        body = _IFINFOMSG.pack(0, 0, link.index, 0, 0)
        body += m.nested(_AF_SPEC, m.nested(_INET6, m.u8(_INET6_ADDR_GEN_MODE, ADDRGEN_NONE)))
        try:
            self._channel.request(RTM_NEWLINK, 0, body)
        except NetlinkError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise failure(error, link.name, "keep the kernel from giving it IPv6 addresses") from error

    def delete(self, link: Link) -> None:
        """Gone is gone: no error if it is not there any more."""
        try:
            self._channel.request(RTM_DELLINK, 0, _IFINFOMSG.pack(0, 0, link.index, 0, 0))
        except NetlinkError as error:
            if error.errno != errno.ENODEV:
                raise failure(error, link.name, "delete the device") from error

    def delete_all(self, links: list[Link]) -> None:
        """Several at once: the kernel waits for all its readers once, which takes it 30 ms, and not for each link.

        They are gathered under a group number that no link has, and the group is deleted.
        """
        if len(links) < 2:
            for link in links:
                self.delete(link)
            return
        taken = {link.group for link in self.dump()}
        group = next(number for number in iter(lambda: secrets.randbits(31), 0) if number not in taken)
        try:
            for link in links:
                with contextlib.suppress(NetlinkError):  # gone already
                    self._channel.request(RTM_NEWLINK, 0, Change().encode(link.index) + m.u32(_GROUP, group))
            self._channel.request(RTM_DELLINK, 0, _IFINFOMSG.pack(0, 0, 0, 0, 0) + m.u32(_GROUP, group))
        except NetlinkError as error:
            if error.errno != errno.ENODEV:
                raise failure(error, " ".join(link.name for link in links), "delete the devices") from error


def _told(change: Change) -> str:
    """What a change states, in words for an error."""
    told = [
        f"{name} to {value}"
        for name, value in (("mac", change.mac), ("mtu", change.mtu), ("master", change.master))
        if value is not None
    ]
    if change.up is not None:
        told.append("its state to up" if change.up else "its state to down")
    if change.port:
        told.append("its bridge port flags")
    return ", ".join(told) or "the device"
