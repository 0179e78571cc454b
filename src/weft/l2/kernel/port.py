"""Local ports: put, dropped, read back; one section per kind of attachment.

host       the segment's bridge itself gets the port's MAC and addresses
namespace  a veth pair; the far end is made inside the namespace, with MAC, MTU and addresses
tap        a persistent TAP device in the bridge, for a virtual machine to open
interface  a device of the host, put into the bridge and released again; nothing else of it is touched
What cannot be read off a device (where it was attached, a virtual machine's MAC) stands in its alias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from weft.l2 import default_route, ipv6, names
from weft.l2.kernel import tables
from weft.l2.kernel.host import Host
from weft.l2.names import Alias, DeviceKind, parse_alias
from weft.model.errors import Kind, WeftError
from weft.model.port import AttachKind
from weft.netlink import message as m
from weft.netlink import namespace, tap
from weft.netlink.addresses import Addresses
from weft.netlink.channel import Channel
from weft.netlink.links import BridgePort, Change, Link, Links, Peer
from weft.netlink.routing import Routing
from weft.plan.port import LocalPort
from weft.plan.router import HOST_NAMESPACE

FLAGS = {
    BridgePort.MODE: 0,
    BridgePort.LEARNING: 1,
    BridgePort.UNICAST_FLOOD: 1,
    BridgePort.MCAST_FLOOD: 1,
    BridgePort.BCAST_FLOOD: 1,
    BridgePort.NEIGH_SUPPRESS: 0,
    BridgePort.ISOLATED: 0,
}


def flags(port: LocalPort) -> dict[int, int]:
    """The port's flags in its bridge."""
    return FLAGS | {BridgePort.ISOLATED: int(port.isolated)}


def device(host: Host, port: LocalPort) -> str:
    """The name of the port's device in the host."""
    if port.attach.kind is AttachKind.HOST:
        return names.bridge(port.segment)
    return names.veth(host.cluster, port.name) if port.attach.kind is AttachKind.NAMESPACE else port.attach.target


def put(host: Host, port: LocalPort, changed: bool) -> None:
    """Makes the port as stated; `changed`: it stood somewhere already, and leaves that place. Raises WeftError."""
    bridge = host.own(names.bridge(port.segment), "bridge")
    if bridge is None:
        what = f"its segment has no bridge {names.bridge(port.segment)}"
        raise WeftError(Kind.FAILED, what, where=f"port {port.name}")
    _PUT[port.attach.kind](host, port, bridge)
    host.declared[port.name] = port.addresses
    if changed:
        _leave_elsewhere(host, port)


def drop(host: Host, port: LocalPort) -> None:
    """Takes the port away, and with it only what we made."""
    link = host.links.get(device(host, port))
    if link is not None and _name(host, link) == port.name:
        _remove(host, link)
    host.declared.pop(port.name, None)


def _name(host: Host, link: Link) -> str | None:
    """The port that a device of ours is (a bridge: which host port it is)."""
    alias = host.alias(link)
    if alias is None:
        return None
    return alias.name if alias.kind is DeviceKind.PORT else alias.details.get("port")


def _remove(host: Host, link: Link) -> None:
    alias = host.alias(link)
    if alias is None:
        return
    if link.kind == "bridge" and alias.kind is DeviceKind.NETWORK:
        made = names.mark(link.name, link.index)
        with tables.neighbors_kept(host, link.index):
            host.addresses.make(link, (), host.addresses.of(link))
            host.links.change(link, Change(mac=names.random_mac(), alias=str(replace(alias, details=made))))
    elif alias.details.get("attach") == AttachKind.INTERFACE:
        host.links.change(link, Change(master=0))
        host.links.change(link, Change(alias=alias.details.get("was", "")))
    else:
        host.delete(link)


def _leave_elsewhere(host: Host, port: LocalPort) -> None:
    here = device(host, port)
    for link in host.links.dump():
        if link.name != here and link.alias and _name(host, link) == port.name:
            _remove(host, link)


def alias(host: Host, port: LocalPort, **more: str) -> str:
    """The text that says of a device which port it is."""
    details = {"segment": f"{port.segment.udp_port}/{port.segment.vni}", "attach": str(port.attach.kind)}
    if port.attach.gateway:
        details["gateway"] = port.attach.gateway
    details |= {"target": port.attach.target, "interface": port.attach.interface, "mac": port.mac, "mtu": str(port.mtu)}
    return str(Alias(host.cluster, DeviceKind.PORT, port.name, details | more | {"ips": ",".join(port.addresses)}))


def _enslave(host: Host, link: Link, bridge: Link, port: LocalPort, stated: Change) -> None:
    """Into the bridge, then the port's flags, then up."""
    host.links.change(link, stated)
    if link.master != bridge.index:
        host.links.change(link, Change(master=bridge.index))
    host.links.change(link, Change(port=b"".join(m.u8(kind, value) for kind, value in flags(port).items())))
    host.links.change(link, Change(up=True))


def _put_host(host: Host, port: LocalPort, bridge: Link) -> None:
    alias = host.alias(bridge)
    network = alias.name if alias else port.name
    details = names.mark(bridge.name, bridge.index) | {"port": port.name, "interface": port.attach.interface}
    details |= {"ips": ",".join(port.addresses)}
    stated = Change(
        mac=port.mac if bridge.mac != port.mac else None,
        mtu=port.mtu,
        alias=str(Alias(host.cluster, DeviceKind.NETWORK, network, details)),
        up=True,
    )
    with tables.neighbors_kept(host, bridge.index):
        host.links.change(bridge, stated)
        host.addresses.make(bridge, port.addresses, host.addresses.of(bridge))


def _put_namespace(host: Host, port: LocalPort, bridge: Link) -> None:
    link = put_pair(host, port)
    _enslave(host, link, bridge, port, Change())
    host.quiet(link.name)


def put_pair(host: Host, port: LocalPort) -> Link:
    """The veth pair as stated, the far end in its namespace; the near end, which belongs to no bridge yet."""
    name = device(host, port)
    link = host.own(name, "veth")
    target = host.ports(port.attach.target)
    namespace.required(target, by=f"port {port.name}")
    inside = Channel(namespace=target)
    try:
        links = Links(inside)
        peer = links.get(port.attach.interface)
        if link and not paired(link, peer):
            host.links.delete(link)
            link, peer = None, links.get(port.attach.interface)
        if peer and link is None:
            link = _renamed(host, port, peer)
        if peer and link is None:
            what = f"namespace '{target}' has a device {port.attach.interface} already, which is not weft's"
            raise WeftError(Kind.FAILED, what, where=f"port {port.name}", remedy="choose another `interface`")
        if link is None or peer is None:
            link, peer = _create_pair(host, port, name, target, links)
        host.links.change(link, Change(mtu=port.mtu, alias=alias(host, port), quiet=True))
        _put_end(inside, port, peer, target)
        return link
    finally:
        inside.close()


def _renamed(host: Host, port: LocalPort, peer: Link) -> Link | None:
    """Our end of the pair under another name, named back; None if the device in the namespace is nobody's of ours.

    It is ours if it bears the port's alias and is one pair with what stands where the port's far end belongs.
    """
    found = host.links.get_index(peer.lower)
    told = parse_alias(found.alias, host.cluster) if found else None
    if found is None or told is None or not paired(found, peer):
        return None
    if (told.kind, told.name) != (DeviceKind.PORT, port.name):
        return None
    host.links.change(found, Change(up=False))  # older kernels rename nothing that is up
    host.links.change(found, Change(name=device(host, port)))
    return host.own(device(host, port), "veth")


def _create_pair(host: Host, port: LocalPort, name: str, target: str, inside: Links) -> tuple[Link, Link]:
    with namespace.opened(target) as fd:
        link = host.links.create(
            Change(name=name, kind="veth", mac=names.random_mac(), mtu=port.mtu, alias=alias(host, port), quiet=True),
            Peer(port.attach.interface, port.mac, port.mtu, fd),
        )
    peer = inside.get(port.attach.interface)
    if peer is None:
        raise WeftError(Kind.FAILED, f"{port.attach.interface} vanished from '{target}'", where=f"port {port.name}")
    return link, peer


def _put_end(inside: Channel, port: LocalPort, peer: Link, target: str) -> None:
    """The end inside the namespace with its default routes, and the loopback of a namespace that is not the host's."""
    links, addresses = Links(inside), Addresses(inside)
    links.change(peer, Change(mac=port.mac if peer.mac != port.mac else None, mtu=port.mtu, quiet=True))
    ipv6.allow(peer.name, port.addresses, target)
    addresses.make(peer, port.addresses, addresses.of(peer))
    links.change(peer, Change(up=True))
    loopback = None if port.attach.target == HOST_NAMESPACE else links.get("lo")
    if loopback and not loopback.up:
        links.change(loopback, Change(up=True))
    default_route.put(Routing(inside), port, peer)


def paired(link: Link, peer: Link | None) -> bool:
    """Whether two devices are the ends of one veth pair: each names the other's index as its lower link."""
    return peer is not None and peer.kind == "veth" and link.lower == peer.index and peer.lower == link.index


def _put_tap(host: Host, port: LocalPort, bridge: Link) -> None:
    link = put_tap_device(host, port)
    _enslave(host, link, bridge, port, Change(mtu=port.mtu, alias=alias(host, port), quiet=True))
    host.quiet(link.name)


def put_tap_device(host: Host, port: LocalPort) -> Link:
    """The TAP device; the caller gives it its alias. Raises FAILED where somebody else's stands there."""
    name = port.attach.target
    link = host.links.get(name)
    if link is not None and _name(host, link) is None:
        raise WeftError(
            Kind.FAILED,
            f"a {link.kind or 'device'} that is not weft's has this name",
            where=name,
            remedy="choose another TAP name"
            if link.alias.startswith("weft:")
            else f"choose another TAP name, or attach it as it is: {{interface: {name}}}",
        )
    if link is None:
        tap.create(name, host.namespace)
        link = host.links.get(name)
        if link is None:
            raise WeftError(Kind.FAILED, "the TAP device vanished", where=name)
        host.links.change(link, Change(mac=names.random_mac()))
    return link


def _put_interface(host: Host, port: LocalPort, bridge: Link) -> None:
    link, told = take_interface(host, port)
    _enslave(host, link, bridge, port, Change(alias=told))


def take_interface(host: Host, port: LocalPort) -> tuple[Link, str]:
    """A device of the host that may become this port, and the alias it is to have. Raises FAILED."""
    name = port.attach.target
    link = host.links.get(name)
    where = f"port {port.name}"
    if link is None:
        raise WeftError(Kind.FAILED, f"interface {name} does not exist", where=where, remedy="create it first")
    mine = host.alias(link)
    if mine is not None and (mine.kind is not DeviceKind.PORT or mine.name != port.name):
        raise WeftError(Kind.FAILED, f"{name} is weft's own device", where=where, remedy="name a device of the host")
    addresses = [text for text in host.addresses.of(link) if not text.startswith("fe80:")]
    if addresses:
        what = f"{name} has {addresses[0]} and would lose it to the bridge"
        remedy = f"choose another device; if nothing needs the address: ip address delete {addresses[0]} dev {name}"
        raise WeftError(Kind.FAILED, what, where=where, remedy=remedy)
    if mine is None and link.master:
        what = f"{name} belongs to another bridge or bond"
        raise WeftError(Kind.FAILED, what, where=where, remedy=f"ip link set {name} nomaster")
    was = mine.details.get("was", "") if mine else link.alias
    return link, alias(host, port, **({"was": was} if was else {}))


_PUT: dict[AttachKind, Callable[[Host, LocalPort, Link], None]] = {
    AttachKind.HOST: _put_host,
    AttachKind.NAMESPACE: _put_namespace,
    AttachKind.TAP: _put_tap,
    AttachKind.INTERFACE: _put_interface,
}
