"""A segment as bridge and vxlan device: put, dropped, read back.

The bridge neither speaks (STP off, no forward delay, no multicast snooping) nor owns an address, unless a host port
gives it one. The vxlan device is a port of it, with
    learning       off in control-plane networks, on the device and on the bridge port
    unicast flood  off where ARP is suppressed and nothing is learned: an unknown unicast frame enters no tunnel
    neigh_suppress on where ARP is suppressed; nftables drops what ARP and ND would still leave (weft.netlink.nft)
In a segment that is relayed (`proxy` and learning) it also drops the ARP that arrives (weft.netlink.nft_relay): the
relay alone sees it.
Outer TTL is 64 for unicast and for groups (the kernel's own for groups is 1, which no router would forward).
drivers/net/vxlan/vxlan_core.c, net/bridge/.
"""

from __future__ import annotations

import errno
import ipaddress
from dataclasses import replace
from functools import partial

from weft.l2 import names
from weft.l2.kernel import routed, tables
from weft.l2.kernel.host import Host, Snapshot, unquiet
from weft.l2.names import Alias, DeviceKind, parse_alias
from weft.model.errors import Kind, WeftError
from weft.model.network import Arp, SegmentKey
from weft.netlink import message as m
from weft.netlink import sysctl
from weft.netlink.links import Bridge, BridgePort, Change, Link, Vxlan
from weft.plan.segment import Segment

_TTL = 64
_SECOND = 100  # the bridge counts in clock_t
_IGMP_LIMIT = "ipv4/igmp_max_memberships"
_IGMP_STEP = 4096


def put(host: Host, segment: Segment, rebuild: bool) -> None:
    """Makes both devices as stated, whatever was there; `rebuild` empties all tables. Raises WeftError."""
    for name, kind in _devices(segment.key):
        _name_back(host, name, kind)
    if segment.routed:
        if rebuild:
            drop(host, segment)
        routed.put(host, segment)
        return
    bridge = _put_bridge(host, segment)
    if rebuild:
        tables.empty_neighbors(host, bridge.index)
    _put_vxlan(host, segment, bridge, rebuild)


def drop(host: Host, segment: Segment) -> None:
    """Removes both devices and all that they hold; foreign devices in the bridge are released by the kernel."""
    tunnel = names.vxlan(segment.key)
    for name, kind in _devices(segment.key):
        after = partial(host.unsuppress, tunnel) if name == tunnel else None
        for stray in host.strays.get(name, ()):
            host.delete(stray, after)
        link = host.links.get(name)
        if link is not None and link.kind == kind and host.alias(link):
            host.delete(link, after)
    host.keep_off(tunnel, ())
    host.keep_in(tunnel, False)


def _devices(key: SegmentKey) -> tuple[tuple[str, str], ...]:
    return (names.vxlan(key), "vxlan"), (names.bridge(key), "bridge")


def _name_back(host: Host, name: str, kind: str) -> None:
    """A device of ours that somebody has renamed gets its name again; one that was replaced meanwhile goes."""
    for link in host.strays.pop(name, ()):
        if host.own(name, kind):
            host.links.delete(link)
            continue
        try:
            host.links.change(link, Change(name=name))
        except WeftError as error:
            if getattr(error.__cause__, "errno", None) != errno.EBUSY:
                raise
            host.links.change(link, Change(up=False))  # kernels before 6.2 rename nothing that is up
            host.links.change(link, Change(name=name))


def _put_bridge(host: Host, segment: Segment) -> Link:
    name = names.bridge(segment.key)
    link = host.own(name, "bridge")
    old = host.alias(link) if link else None
    made = names.mark(name, link.index) if link else {}
    alias = Alias(host.cluster, DeviceKind.NETWORK, segment.network, made | (old.details if old else {}))
    info = (
        m.u32(Bridge.FORWARD_DELAY, 0)
        + m.u32(Bridge.AGEING_TIME, segment.age * _SECOND)
        + m.u32(Bridge.STP_STATE, 0)
        + m.u8(Bridge.MCAST_SNOOPING, 0)
    )
    stated = Change(kind="bridge", info=info, mtu=segment.mtu, alias=str(alias), quiet=True)
    if link is None:
        link = host.links.create(replace(stated, name=name, mac=names.random_mac(), mtu=None))
        alias = replace(alias, details=names.mark(name, link.index))
        # An MTU that is stated once it exists stays whatever its ports have.
        host.links.change(link, Change(mtu=segment.mtu, alias=str(alias)))
    else:
        host.links.change(link, Change(kind="bridge", info=m.u32(Bridge.STP_STATE, 0)))  # it forbids a delay of 0
        host.links.change(link, stated)
        if "port" not in alias.details and (there := host.addresses.of(link)):
            with tables.neighbors_kept(host, link.index):
                host.addresses.make(link, (), there)
    host.quiet(name)
    host.links.change(link, Change(up=True))
    return link


def _put_vxlan(host: Host, segment: Segment, bridge: Link, rebuild: bool) -> None:
    name = names.vxlan(segment.key)
    details = {"anycast": ",".join(segment.anycast)} if segment.anycast else {}
    alias = Alias(host.cluster, DeviceKind.TUNNEL, segment.network, details)
    fixed = _fixed(host, segment)
    changing = m.u8(Vxlan.TTL, _TTL) + m.u8(Vxlan.LEARNING, segment.learning) + m.u32(Vxlan.AGEING, segment.age)
    stated = Change(kind="vxlan", info=changing, mtu=segment.mtu, alias=str(alias), quiet=True)
    link = host.own(name, "vxlan")
    if link and (rebuild or _differs(link, fixed, segment)):
        host.links.delete(link)
        link = None
    if link is None:
        link = _create(host, replace(stated, name=name, mac=names.random_mac(), info=fixed + changing), segment)
    else:
        host.links.change(link, Change(kind="vxlan", info=changing))  # which forbids an MTU in the same message
        host.links.change(link, replace(stated, kind=None, info=b""))
        if link.info_int(Vxlan.LEARNING) and not segment.learning:
            tables.forget(host, link.index)
    host.links.change(link, Change(alias=str(replace(alias, details=details | names.mark(name, link.index)))))
    if segment.arp is Arp.FLOOD:
        host.unsuppress(name)
    else:
        host.suppression.add(name)
    host.keep_off(name, segment.anycast)
    host.keep_in(name, segment.relayed)
    host.quiet(name)
    if link.master != bridge.index:  # down first: no frame passes before the port's flags are right
        host.links.change(link, Change(up=False))
        host.links.change(link, Change(master=bridge.index))
    flags = b"".join(m.u8(kind, value) for kind, value in _port_flags(segment.learning, segment.arp).items())
    host.links.change(link, Change(port=flags))
    _up(host, link)


def _create(host: Host, change: Change, segment: Segment) -> Link:
    """The vxlan device; if the VNI is taken by our own, which somebody has renamed, that one goes."""
    try:
        return host.links.create(change)
    except WeftError as error:
        if getattr(error.__cause__, "errno", None) != errno.EEXIST:
            raise
        stated = m.parse(change.info)
        for link in host.links.dump():
            alias = parse_alias(link.alias, host.cluster)
            mine = alias is not None and (alias.kind, alias.name) == (DeviceKind.TUNNEL, segment.network)
            if (
                mine
                and link.kind == "vxlan"
                and all(link.info.get(kind) == stated[kind] for kind in (Vxlan.ID, Vxlan.PORT))
            ):
                host.links.delete(link)
                return host.links.create(change)
        raise


def _fixed(host: Host, segment: Segment) -> bytes:
    """What the kernel takes at creation only (or would empty the tables for)."""
    local, remote = ipaddress.ip_address(segment.vtep), Vxlan.GROUP
    info = m.u32(Vxlan.ID, segment.key.vni) + m.be16(Vxlan.PORT, segment.key.udp_port)
    info += m.attribute(Vxlan.LOCAL if local.version == 4 else Vxlan.LOCAL6, local.packed)
    if segment.group:
        underlay = host.holder(segment.vtep)
        if underlay is None:
            what = f"no device holds {segment.vtep}, on which group {segment.group} must be joined"
            raise WeftError(
                Kind.FAILED, what, where=f"network {segment.network}", remedy="give the address to a device"
            )
        group = ipaddress.ip_address(segment.group)
        remote = Vxlan.GROUP if group.version == 4 else Vxlan.GROUP6
        info += m.attribute(remote, group.packed) + m.u32(Vxlan.LINK, underlay.index)
    return info


def _differs(link: Link, fixed: bytes, segment: Segment) -> bool:
    stated = m.parse(fixed).items()
    return any(link.info.get(kind) != value for kind, value in stated) or _group(link) != segment.group


def _port_flags(learning: bool, arp: Arp) -> dict[int, int]:
    """The bridge port of a vxlan device; broadcast and multicast follow the flood list.

    Where every frame between hosts passes a router (`proxy`), tunnels and hosts' ports exchange none (`isolated`).
    """
    suppress = arp is not Arp.FLOOD
    return {
        BridgePort.MODE: 0,
        BridgePort.LEARNING: int(learning),
        BridgePort.UNICAST_FLOOD: int(learning or not suppress),
        BridgePort.MCAST_FLOOD: 1,
        BridgePort.BCAST_FLOOD: 1,
        BridgePort.NEIGH_SUPPRESS: int(arp is Arp.SUPPRESS),
        BridgePort.ISOLATED: int(arp is Arp.PROXY),
    }


def _up(host: Host, link: Link) -> None:
    """Up; the 21st group of a namespace is refused until the kernel's limit on memberships is raised."""
    try:
        host.links.change(link, Change(up=True))
    except WeftError as error:
        if getattr(error.__cause__, "errno", None) != errno.ENOBUFS:
            raise
        limit = int(sysctl.read(_IGMP_LIMIT, host.namespace) or 0)
        sysctl.write(_IGMP_LIMIT, limit + _IGMP_STEP, host.namespace)
        host.links.change(link, Change(up=True))


def read(host: Host, snapshot: Snapshot) -> tuple[dict[SegmentKey, Segment], dict[SegmentKey, tuple[str, ...]]]:
    """Our segments with their flaws. One without vxlan device, or whose group is joined on the wrong device, has no
    VTEP, so that a diff builds it anew."""
    bridges: dict[SegmentKey, tuple[Link, Alias]] = {}
    tunnels: dict[SegmentKey, tuple[Link, Alias]] = {}
    alone: dict[SegmentKey, tuple[Link, Alias]] = {}
    wrong: dict[SegmentKey, list[str]] = {}
    for link, alias, name in _ours(host, snapshot):
        key = names.key_of(name)
        if key is None:
            continue
        if name != link.name:
            wrong.setdefault(key, []).append(f"{name} is called {link.name}")
            if key in (bridges if alias.kind is DeviceKind.NETWORK else tunnels | alone):
                continue
        if alias.kind is DeviceKind.NETWORK and link.kind == "bridge":
            bridges[key] = link, alias
        elif alias.kind is DeviceKind.TUNNEL and link.kind == "vxlan":
            tunnels[key] = link, alias
        elif alias.kind is DeviceKind.ROUTED and link.kind == "vxlan":
            alone[key] = link, alias
    segments: dict[SegmentKey, Segment] = {}
    flaws: dict[SegmentKey, tuple[str, ...]] = {}
    for key in sorted(bridges.keys() | tunnels.keys()):
        bridge, tunnel = bridges.get(key), tunnels.get(key)
        link, alias = bridge or tunnels[key]
        segments[key] = _segment(key, alias.name, link, tunnel)
        if tunnel and (astray := _astray(snapshot, tunnel[0], segments[key])):
            segments[key] = replace(segments[key], vtep="")
            wrong.setdefault(key, []).append(astray)
        found = wrong.get(key, []) + _bridge_flaws(key, snapshot, bridge, segments[key])
        found += _tunnel_flaws(key, snapshot, bridge[0] if bridge else None, tunnel, segments[key])
        if found:
            flaws[key] = tuple(found)
    for key in alone.keys() - segments.keys():
        segments[key], found = routed.read(host, snapshot, key, *alone[key])
        if found := wrong.get(key, []) + found:
            flaws[key] = tuple(found)
    return dict(sorted(segments.items())), flaws


def _ours(host: Host, snapshot: Snapshot) -> list[tuple[Link, Alias, str]]:
    """Devices of ours with their names by law: those that bear them, then those that somebody has renamed."""
    lawful: list[tuple[Link, Alias, str]] = []
    renamed: list[tuple[Link, Alias, str]] = []
    host.strays = {}
    for link in snapshot.links:
        if alias := host.alias(link):
            lawful.append((link, alias, link.name))
        elif stray := host.renamed(link):
            renamed.append((link, *stray))
            host.strays.setdefault(stray[1], []).append(link)
    return lawful + renamed


def _segment(key: SegmentKey, network: str, link: Link, found: tuple[Link, Alias] | None) -> Segment:
    if found is None:
        age = link.info_int(Bridge.AGEING_TIME) // _SECOND
        return Segment(key, network, "", link.mtu, False, age, Arp.FLOOD)
    tunnel, alias = found
    anycast = alias.details.get("anycast", "")
    local = _ip(tunnel, Vxlan.LOCAL, Vxlan.LOCAL6)
    return Segment(
        key,
        network,
        local or "",
        link.mtu,
        bool(tunnel.info_int(Vxlan.LEARNING)),
        tunnel.info_int(Vxlan.AGEING),
        _arp(tunnel),
        _group(tunnel),
        tuple(anycast.split(",")) if anycast else (),
    )


def _arp(tunnel: Link) -> Arp:
    if tunnel.port_int(BridgePort.NEIGH_SUPPRESS):
        return Arp.SUPPRESS
    return Arp.PROXY if tunnel.port_int(BridgePort.ISOLATED) else Arp.FLOOD


def _group(tunnel: Link) -> str | None:
    return _ip(tunnel, Vxlan.GROUP, Vxlan.GROUP6)


def _ip(tunnel: Link, four: int, six: int) -> str | None:
    octets = tunnel.info.get(four) or tunnel.info.get(six)
    return str(ipaddress.ip_address(octets)) if octets and any(octets) else None


def _astray(snapshot: Snapshot, tunnel: Link, segment: Segment) -> str:
    """That a group is joined on a device without the VTEP address; "" too where none has it, for it may come back."""
    holders = [index for index, texts in snapshot.addresses.items() if segment.vtep in [t.split("/")[0] for t in texts]]
    if segment.group is None or not holders or tunnel.info_int(Vxlan.LINK) in holders:
        return ""
    return f"{tunnel.name} is in group {segment.group} by a device that does not hold {segment.vtep}"


def _bridge_flaws(key: SegmentKey, snapshot: Snapshot, found: tuple[Link, Alias] | None, segment: Segment) -> list[str]:
    if found is None:
        return [f"{names.bridge(key)} is missing"]
    bridge, alias = found
    flaws = unquiet(bridge)
    if not bridge.up:
        flaws.append(f"{bridge.name} is down")
    if bridge.info_int(Bridge.AGEING_TIME) != segment.age * _SECOND:
        flaws.append(
            f"{bridge.name} forgets after {bridge.info_int(Bridge.AGEING_TIME) // _SECOND} s, not {segment.age} s"
        )
    if bridge.info_int(Bridge.STP_STATE) or bridge.info_int(Bridge.FORWARD_DELAY):
        flaws.append(f"{bridge.name} runs STP or delays forwarding")
    if bridge.info_int(Bridge.MCAST_SNOOPING):
        flaws.append(f"{bridge.name} snoops multicast")
    if "port" not in alias.details and (addresses := snapshot.addresses.get(bridge.index)):
        flaws.append(f"{bridge.name} has {' '.join(addresses)}, which no port gives it")
    return flaws


def _tunnel_flaws(
    key: SegmentKey, snapshot: Snapshot, bridge: Link | None, found: tuple[Link, Alias] | None, segment: Segment
) -> list[str]:
    if found is None:
        return [f"{names.vxlan(key)} is missing"]
    tunnel, alias = found
    flaws = unquiet(tunnel)
    if not tunnel.up:
        flaws.append(f"{tunnel.name} is down")
    if tunnel.mtu != segment.mtu:
        flaws.append(f"{tunnel.name} has mtu {tunnel.mtu}, not {segment.mtu}")
    if tunnel.info_int(Vxlan.TTL) != _TTL:
        flaws.append(f"{tunnel.name} sends with TTL {tunnel.info_int(Vxlan.TTL)}, not {_TTL}")
    if alias.name != segment.network:
        flaws.append(f"{tunnel.name} says it belongs to {alias.name}")
    if bridge is not None:
        if tunnel.master != bridge.index:
            flaws.append(f"{tunnel.name} is not in {bridge.name}")
        elif any(
            tunnel.port_int(kind) not in (value, None)
            for kind, value in _port_flags(segment.learning, segment.arp).items()
        ):
            flaws.append(f"{tunnel.name} has wrong bridge port flags")
    suppressed = snapshot.suppression.whole and tunnel.name in snapshot.suppression.devices
    if segment.arp is not Arp.FLOOD and not suppressed:
        flaws.append(f"nft lets ARP and ND leave by {tunnel.name}")
    if segment.arp is Arp.FLOOD and tunnel.name in snapshot.suppression.devices:
        flaws.append(f"nft drops ARP and ND that leave by {tunnel.name}")
    if snapshot.gateways.get(tunnel.name, ()) != segment.anycast:
        flaws.append(f"nft does not keep anycast gateways off {tunnel.name}")
    if (tunnel.name in snapshot.relayed) is not segment.relayed:
        flaws.append(f"nft {'lets' if segment.relayed else 'does not let'} ARP out of {tunnel.name} reach gateways")
    return flaws
