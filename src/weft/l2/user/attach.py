"""Local ports made: the device of each kind of attachment, with what opens it for frames.

host       a TAP wb<VNI> in the host's namespace, which gets the port's MAC and addresses
namespace  a TAP made inside the namespace
           (both: where /dev/net/tun may not be opened, a veth pair, whose other end a packet socket reads here)
tap        a persistent TAP in the host's namespace for a virtual machine to open; we hold its other side
interface  a device of the host, read and written by a packet socket; nothing else of it is touched
Everything runs in the host's namespace. Devices of ours carry an alias (weft.l2.names); TAPs that end with the
forwarder need none to be cleaned up.
"""

from __future__ import annotations

from collections.abc import Callable

from weft.l2 import default_route, ipv6, names
from weft.l2.names import Alias, DeviceKind
from weft.l2.user.device import PacketSocket, Tap
from weft.l2.user.world import PortState
from weft.model.errors import Kind, WeftError
from weft.model.port import AttachKind
from weft.netlink import message as m
from weft.netlink import namespace, sysctl, tap
from weft.netlink.addresses import Addresses
from weft.netlink.channel import Channel, NetlinkError
from weft.netlink.links import RTM_NEWLINK, Change, Link, Links, Peer
from weft.netlink.namespace import Namespace
from weft.netlink.routing import Routing
from weft.plan.port import LocalPort

_GSO_MAX_SIZE = 41  # IFLA_GSO_MAX_SIZE
_TRAIN = 65487  # octets of the largest train (weft.l2.user.underlay)
_HEADERS, _SPARE = 22, 384  # VXLAN and Ethernet before an inner packet; what the kernel sets aside for headers


def attach(cluster: str, port: LocalPort, target: str) -> PortState:
    """Makes the port's device; `target` is the namespace's name on this machine. Raises WeftError."""
    return _ATTACH[port.attach.kind](cluster, port, target)


def detach(cluster: str, state: PortState) -> None:
    """Closes the device, and removes what would outlive that."""
    state.device.close()
    if state.veth or state.port.attach.kind in (AttachKind.TAP, AttachKind.INTERFACE):
        remove(cluster, state.port)


def remove(cluster: str, port: LocalPort) -> None:
    """Removes a port's device from the host's namespace, if it is there and ours; releases an interface."""
    channel = Channel()
    try:
        links = Links(channel)
        link = links.get(_outlives(cluster, port))
        alias = names.parse_alias(link.alias, cluster) if link else None
        if link is None or alias is None or alias.kind is not DeviceKind.PORT or alias.name != port.name:
            return
        if port.attach.kind is AttachKind.INTERFACE:
            links.change(link, Change(alias=alias.details.get("was", "")))
        else:
            links.delete(link)
    finally:
        channel.close()


def _outlives(cluster: str, port: LocalPort) -> str:
    """The device of a port in the host's namespace that does not end with the forwarder."""
    if port.attach.kind in (AttachKind.TAP, AttachKind.INTERFACE):
        return port.attach.target
    return names.veth(cluster, port.name)


def _end_name(port: LocalPort) -> str:
    """What the end point's own device is called."""
    return names.bridge(port.segment) if port.attach.kind is AttachKind.HOST else port.attach.interface


def mend(cluster: str, state: PortState) -> None:
    """States everything of the end point's device anew, which stays. Raises WeftError, OSError."""
    port, inside = state.port, _inside(state)
    channel = Channel(namespace=inside)
    try:
        _end(channel, inside, port, _end_name(port), None if state.veth else _alias(cluster, port))
    finally:
        channel.close()


def flaws(state: PortState) -> list[str]:
    """What is wrong with a port's device beyond the plan's attributes."""
    port, inside = state.port, _inside(state)
    if state.gone:
        return [state.gone]
    name = _end_name(port)
    if port.attach.kind in (AttachKind.TAP, AttachKind.INTERFACE):
        return []
    channel = Channel(namespace=inside)
    try:
        link = Links(channel).get(name)
        if link is None:
            return [f"{name} is gone"]
        there = Addresses(channel).of(link)
        gateways = default_route.found(Routing(channel).routes()).get(link.index, ())
    finally:
        channel.close()
    found = [] if link.up else [f"{name} is down"]
    found += [] if link.mac == port.mac else [f"{name} has MAC {link.mac}"]
    found += [] if link.mtu == port.mtu else [f"{name} has MTU {link.mtu}"]
    found += [f"{name} lacks {text}" for text in port.addresses if text not in there]
    found += [f"{name} has {text}" for text in there if text not in port.addresses]
    found += [f"{name} has no default route by {text}" for text in port.gateways if text not in gateways]
    return found


def _inside(state: PortState) -> Namespace:
    return state.target if state.port.attach.kind is AttachKind.NAMESPACE else None


def _alias(cluster: str, port: LocalPort, **more: str) -> str:
    return str(Alias(cluster, DeviceKind.PORT, port.name, {"attach": str(port.attach.kind)} | more))


def _foreign(name: str, where: str) -> WeftError:
    what = f"{where} has a device {name} already, which is not weft's"
    return WeftError(Kind.FAILED, what, where=name, remedy="choose another name, or remove that device")


def _host(cluster: str, port: LocalPort, target: str) -> PortState:
    return _end_point(cluster, port, target, None)


def _namespace(cluster: str, port: LocalPort, target: str) -> PortState:
    namespace.required(target, by=f"port {port.name}")
    return _end_point(cluster, port, target, target)


def _end_point(cluster: str, port: LocalPort, target: str, inside: Namespace) -> PortState:
    remove(cluster, port)  # a pair that an earlier forwarder left
    name = _end_name(port)
    try:
        return _own_tap(cluster, port, target, name, inside)
    except WeftError as error:
        if error.kind is not Kind.UNSUPPORTED:
            raise
    return _pair(cluster, port, target, name, inside)


def _own_tap(cluster: str, port: LocalPort, target: str, name: str, inside: Namespace) -> PortState:
    """A TAP that is the end point's own network device."""
    channel = Channel(namespace=inside)
    try:
        links = Links(channel)
        if links.get(name):
            raise _foreign(name, f"namespace '{inside}'" if inside else "the host")
        device = Tap(name, inside)
        try:
            _end(channel, inside, port, name, _alias(cluster, port))
        except BaseException:
            device.close()
            raise
        return PortState(port, target, device)
    finally:
        channel.close()


def _end(channel: Channel, inside: Namespace, port: LocalPort, name: str, alias: str | None) -> None:
    """States everything of the device at the end point: MAC, MTU, addresses, and how big its frames may be."""
    links, addresses = Links(channel), Addresses(channel)
    link = links.get(name)
    if link is None:
        raise WeftError(Kind.FAILED, f"{name} vanished", where=f"port {port.name}")
    mac = port.mac if link.mac != port.mac else None
    links.change(link, Change(mac=mac, mtu=port.mtu, alias=alias, quiet=True))
    _bound(channel, link, port.mtu)
    ipv6.allow(name, port.addresses, inside)
    addresses.make(link, port.addresses, addresses.of(link))
    links.change(link, Change(up=True))
    default_route.put(Routing(channel), port, link)
    if port.attach.kind is AttachKind.NAMESPACE and (loopback := links.get("lo")) and not loopback.up:
        links.change(loopback, Change(up=True))


def _bound(channel: Channel, link: Link, mtu: int) -> None:
    """No frame bigger than one train: a few octets more would cost a system call of their own."""
    largest = _TRAIN // (mtu + _HEADERS) * (mtu - 52) + _SPARE
    try:
        channel.request(RTM_NEWLINK, 0, Change().encode(link.index) + m.u32(_GSO_MAX_SIZE, min(largest, 65536)))
    except NetlinkError:
        pass  # an older kernel: trains are cut in two


def _pair(cluster: str, port: LocalPort, target: str, end: str, inside: Namespace) -> PortState:
    """A veth pair to the end point, and a packet socket on its end here."""
    name = names.veth(cluster, port.name)
    here, there = Channel(), Channel(namespace=inside)
    try:
        alias = _alias(cluster, port)
        near = Change(name=name, kind="veth", mac=names.random_mac(), mtu=port.mtu, alias=alias, quiet=True)
        if isinstance(inside, str):
            with namespace.opened(inside) as fd:
                link = Links(here).create(near, Peer(end, port.mac, port.mtu, fd))
        else:
            link = Links(here).create(near, Peer(end, port.mac, port.mtu))
        Links(here).change(link, Change(up=True))
        _quiet(name)
        _end(there, inside, port, end, None)
        return PortState(port, target, PacketSocket(name), veth=True)
    finally:
        here.close()
        there.close()


def _quiet(name: str) -> None:
    """The host's own stack has nothing to say on a device that only frames of others pass."""
    if sysctl.read(f"ipv6/conf/{name}/disable_ipv6") not in (None, "1"):
        sysctl.write(f"ipv6/conf/{name}/disable_ipv6", 1)


def _tap(cluster: str, port: LocalPort, target: str) -> PortState:
    name = port.attach.target
    return _packet(cluster, port, target, name, lambda: tap.create(name))


def _interface(cluster: str, port: LocalPort, target: str) -> PortState:
    return _packet(cluster, port, target, port.attach.target, None)


def _packet(cluster: str, port: LocalPort, target: str, name: str, create: Callable[[], None] | None) -> PortState:
    """A device that is there, or that `create` makes, with a packet socket on it."""
    channel, where = Channel(), f"port {port.name}"
    try:
        links = Links(channel)
        link = links.get(name)
        alias = names.parse_alias(link.alias, cluster) if link else None
        ours = alias is not None and alias.kind is DeviceKind.PORT and alias.name == port.name
        if link is None and create is None:
            raise WeftError(Kind.FAILED, f"interface {name} does not exist", where=where, remedy="create it first")
        if link is not None and not ours and (create or alias):
            raise _foreign(name, "the host")
        if link is None and create is not None:
            create()
            link = links.get(name)
        if link is None:
            raise WeftError(Kind.FAILED, f"{name} vanished", where=where)
        if addresses := Addresses(channel).of(link):
            what = f"{name} has {addresses[0]}, and the host would answer beside the segment"
            raise WeftError(Kind.FAILED, what, where=where, remedy=f"ip address delete {addresses[0]} dev {name}")
        if link.master:
            what = f"{name} belongs to a bridge or bond"
            raise WeftError(Kind.FAILED, what, where=where, remedy=f"ip link set {name} nomaster")
        was = alias.details.get("was", "") if ours and alias else link.alias
        told = _alias(cluster, port, **({"was": was} if was and not create else {}))
        links.change(link, Change(alias=told, mtu=port.mtu if create else None, quiet=bool(create), up=True))
        if create:
            _quiet(name)
        return PortState(port, target, PacketSocket(name))
    finally:
        channel.close()


_ATTACH: dict[AttachKind, Callable[[str, LocalPort, str], PortState]] = {
    AttachKind.HOST: _host,
    AttachKind.NAMESPACE: _namespace,
    AttachKind.TAP: _tap,
    AttachKind.INTERFACE: _interface,
}
