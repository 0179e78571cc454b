"""A routed segment as one vxlan device in the host's own stack: put, read back.

No bridge, no learning: the device has an address (a node's first, /32 or /128) and a MAC that peers know, and the host
routes to its peers' prefixes by neighbors on it. A device of a bridged segment that bears its name goes first.
drivers/net/vxlan/vxlan_core.c.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from weft.l2 import names
from weft.l2.kernel import tables
from weft.l2.kernel.host import Host, Snapshot, unquiet
from weft.l2.names import Alias, DeviceKind
from weft.model.address import is_ipv6
from weft.model.network import Arp, SegmentKey
from weft.netlink import message as m
from weft.netlink import sysctl
from weft.netlink.links import Change, Link, Vxlan
from weft.plan.segment import Routed, Segment

TTL = 64


def put(host: Host, segment: Segment) -> None:
    """Makes the device as stated; one whose VNI, port or local address is another is made anew. Raises WeftError."""
    assert segment.routed is not None
    name = names.vxlan(segment.key)
    alias = Alias(host.cluster, DeviceKind.ROUTED, segment.network)
    fixed = _fixed(segment)
    changing = m.u8(Vxlan.TTL, TTL) + m.u8(Vxlan.LEARNING, 0) + m.u32(Vxlan.AGEING, segment.age)
    stated = Change(mtu=segment.mtu, alias=str(alias), quiet=True)
    link = host.own(name, "vxlan")
    if link and any(link.info.get(kind) != value for kind, value in m.parse(fixed).items()):
        host.links.delete(link)
        link = None
    if link is None:
        made = replace(stated, name=name, kind="vxlan", mac=segment.routed.mac, info=fixed + changing)
        link = host.links.create(made)
    else:
        host.links.change(link, Change(kind="vxlan", info=changing))
        host.links.change(link, stated)
    host.links.change(link, Change(alias=str(replace(alias, details=names.mark(name, link.index)))))
    if link.mac != segment.routed.mac:
        with tables.neighbors_kept(host, link.index):
            host.links.change(link, Change(mac=segment.routed.mac))
    host.quiet(name)
    if is_ipv6(segment.routed.address) and sysctl.read(_off(name), host.namespace) not in (None, "0"):
        sysctl.write(_off(name), 0, host.namespace)
    _address(host, link, segment.routed.address)
    host.links.change(link, Change(master=0, up=True))


def _address(host: Host, link: Link, wanted: str) -> None:
    """First the one that is wanted, since with its last address a device loses its routes."""
    there = _stated(host.addresses.of(link))
    if wanted not in there:
        host.addresses.add(link, wanted)
    for stale in there:
        if stale != wanted:
            host.addresses.delete(link, stale)


def _fixed(segment: Segment) -> bytes:
    local = ipaddress.ip_address(segment.vtep)
    info = m.u32(Vxlan.ID, segment.key.vni) + m.be16(Vxlan.PORT, segment.key.udp_port)
    return info + m.attribute(Vxlan.LOCAL if local.version == 4 else Vxlan.LOCAL6, local.packed)


def read(host: Host, snapshot: Snapshot, key: SegmentKey, link: Link, alias: Alias) -> tuple[Segment, list[str]]:
    """The segment of a routed device, and its flaws."""
    octets = link.info.get(Vxlan.LOCAL) or link.info.get(Vxlan.LOCAL6)
    addresses = _stated(snapshot.addresses.get(link.index, ()))
    routed = Routed(link.mac, " ".join(addresses))
    learning, age = bool(link.info_int(Vxlan.LEARNING)), link.info_int(Vxlan.AGEING)
    vtep = str(ipaddress.ip_address(octets)) if octets else ""
    segment = Segment(key, alias.name, vtep, link.mtu, learning, age, Arp.SUPPRESS, routed=routed)
    flaws = unquiet(link) + ([] if link.up else [f"{link.name} is down"])
    if link.info_int(Vxlan.TTL) != TTL:
        flaws.append(f"{link.name} sends with TTL {link.info_int(Vxlan.TTL)}, not {TTL}")
    if link.master:
        flaws.append(f"{link.name} is in a bridge")
    if any(map(is_ipv6, addresses)) and sysctl.read(_off(link.name), host.namespace) not in (None, "0"):
        flaws.append(f"{link.name} has IPv6 off")
    return segment, flaws


def _stated(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Without those that the kernel makes itself."""
    return tuple(text for text in addresses if not text.startswith("fe80:"))


def _off(name: str) -> str:
    return f"ipv6/conf/{name}/disable_ipv6"
