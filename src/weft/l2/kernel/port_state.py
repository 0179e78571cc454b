"""Local ports read back: from the device, from inside the namespace, and from the alias what neither can tell."""

from __future__ import annotations

from dataclasses import dataclass, replace

from weft.l2 import default_route, names
from weft.l2.kernel.host import Host, Snapshot, ordered, unquiet
from weft.l2.kernel.port import device, flags, paired
from weft.l2.names import Alias, DeviceKind
from weft.model.errors import WeftError
from weft.model.network import SegmentKey
from weft.model.port import Attach, AttachKind
from weft.netlink.addresses import Addresses
from weft.netlink.channel import Channel
from weft.netlink.links import BridgePort, Link, Links
from weft.netlink.routing import Routing
from weft.plan.port import LocalPort
from weft.plan.router import HOST_NAMESPACE

Found = tuple[LocalPort, list[str]]  # a port and its flaws


def read(host: Host, snapshot: Snapshot) -> tuple[dict[str, LocalPort], dict[str, tuple[str, ...]]]:
    """Our ports with their flaws."""
    ports: dict[str, LocalPort] = {}
    flaws: dict[str, tuple[str, ...]] = {}
    by_name = {link.name: link for link in snapshot.links}
    insides = Insides()
    for link in snapshot.links:
        alias = host.alias(link) if link.alias else None
        if alias is None or (found := read_device(host, snapshot, link, alias, insides)) is None:
            continue
        port, wrong = found
        if port.attach.kind is not AttachKind.HOST:
            port = replace(port, isolated=bool(link.port_int(BridgePort.ISOLATED)))
            wrong += _bridge_flaws(link, port, by_name.get(names.bridge(port.segment)))
        if port.name in ports:
            wrong.append(f"it stands on {device(host, ports[port.name])} and {link.name}")
        ports[port.name] = port
        if wrong:
            flaws[port.name] = (*flaws.get(port.name, ()), *wrong)
    return ports, flaws


@dataclass(frozen=True, slots=True)
class _Inside:
    """What stands in a port's namespace."""

    links: dict[str, Link]
    addresses: dict[int, tuple[str, ...]]
    gateways: dict[int, tuple[str, ...]]


class Insides(dict[str, _Inside | None]):
    """By namespace, each read once when it is first asked for; None where there is no such namespace."""

    def __missing__(self, namespace: str) -> _Inside | None:
        self[namespace] = found = _look(namespace)
        return found


def _look(namespace: str) -> _Inside | None:
    try:
        channel = Channel(namespace=namespace)
    except WeftError:
        return None
    try:
        links = {link.name: link for link in Links(channel).dump()}
        return _Inside(links, Addresses(channel).dump(), default_route.found(Routing(channel).routes()))
    finally:
        channel.close()


def read_device(host: Host, snapshot: Snapshot, link: Link, alias: Alias, insides: Insides) -> Found | None:
    """One device of ours as a port; flaws of the device alone, whatever switches it."""
    if alias.kind is DeviceKind.NETWORK and link.kind == "bridge":
        return _host(host, snapshot, link, alias)
    if alias.kind is not DeviceKind.PORT:
        return None
    segment, attach = _segment(alias), _attach(alias)
    if segment is None or attach is None:
        return None
    declared = _addresses(host, alias)
    if attach.kind is AttachKind.NAMESPACE:
        return _namespace(host, link, LocalPort(alias.name, segment, attach, "", declared, link.mtu), insides)
    told = alias.details.get("mtu", "")
    mtu = link.mtu if attach.kind is AttachKind.TAP or not told.isdecimal() else int(told)
    port = LocalPort(alias.name, segment, attach, alias.details.get("mac", ""), declared, mtu)
    return port, unquiet(link) if attach.kind is AttachKind.TAP else []


def _host(host: Host, snapshot: Snapshot, link: Link, alias: Alias) -> Found | None:
    key, name = names.key_of(link.name), alias.details.get("port")
    if key is None or name is None:
        return None
    attach = Attach(kind=AttachKind.HOST, interface=alias.details.get("interface", "eth0"))
    declared = host.declared.get(name) or _split(alias.details.get("ips", ""))
    there = snapshot.addresses.get(link.index, ())
    return LocalPort(name, key, attach, link.mac, ordered(there, declared), link.mtu), []


def _namespace(host: Host, link: Link, port: LocalPort, insides: Insides) -> Found:
    """MAC, addresses and MTU as they are inside; none where the far end is not where it belongs."""
    inside = insides[host.ports(port.attach.target)]
    flaws = unquiet(link)
    if inside is None:
        return port, [*flaws, f"namespace '{host.ports(port.attach.target)}' is missing"]
    peer = inside.links.get(port.attach.interface)
    if peer is None or not paired(link, peer):
        return port, [*flaws, f"{port.attach.interface} is missing in '{host.ports(port.attach.target)}'"]
    flaws += _end_flaws(peer)
    if not peer.up:
        flaws.append(f"{peer.name} is down")
    if link.mtu != peer.mtu:
        flaws.append(f"{link.name} has mtu {link.mtu}, not {peer.mtu}")
    loopback = None if port.attach.target == HOST_NAMESPACE else inside.links.get("lo")
    if loopback and not loopback.up:
        flaws.append("lo is down")
    addresses = ordered(inside.addresses.get(peer.index, ()), port.addresses)
    gateways = inside.gateways.get(peer.index, ())
    return replace(port, mac=peer.mac, addresses=addresses, mtu=peer.mtu, gateways=gateways), flaws


def _end_flaws(peer: Link) -> list[str]:
    return [] if peer.addrgen in (None, 1) else [f"{peer.name} makes IPv6 addresses by itself"]


def _bridge_flaws(link: Link, port: LocalPort, bridge: Link | None) -> list[str]:
    flaws = [] if link.up else [f"{link.name} is down"]
    if bridge is None or link.master != bridge.index:
        flaws.append(f"{link.name} is not in its bridge")
    elif not link.port_is(flags(port)):
        flaws.append(f"{link.name} has wrong bridge port flags")
    return flaws


def _segment(alias: Alias) -> SegmentKey | None:
    udp_port, _, vni = alias.details.get("segment", "").partition("/")
    return SegmentKey(int(udp_port), int(vni)) if udp_port.isdecimal() and vni.isdecimal() else None


def _attach(alias: Alias) -> Attach | None:
    try:
        kind = AttachKind(alias.details.get("attach", ""))
    except ValueError:
        return None
    told = alias.details
    return Attach(
        kind=kind,
        target=told.get("target", ""),
        interface=told.get("interface", "eth0"),
        gateway=told.get("gateway", ""),
    )


def _addresses(host: Host, alias: Alias) -> tuple[str, ...]:
    """As declared: from the alias, or as this process put them where the alias had no room."""
    if "ips" in alias.details:
        return _split(alias.details["ips"])
    return host.declared.get(alias.name, ())


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()
