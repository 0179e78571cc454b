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

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from weft.l2 import default_route, ipv6, names
from weft.l2.names import Alias, DeviceKind
from weft.l2.user.device import PacketSocket, Tap
from weft.l2.user.naming import called, device_name, foreign, inside, stays
from weft.l2.user.tx.split import SEGMENTS_MAX
from weft.l2.user.world import PortState
from weft.model.errors import Kind, WeftError
from weft.model.port import AttachKind
from weft.netlink import message as m
from weft.netlink import namespace, sysctl, tap
from weft.netlink.addresses import Addresses
from weft.netlink.channel import Channel, NetlinkError
from weft.netlink.ethtool import switch_off
from weft.netlink.links import RTM_NEWLINK, Change, Link, Links, Peer
from weft.netlink.namespace import Namespace
from weft.netlink.routing import Routing
from weft.plan.port import LocalPort

_AT_ONCE = 32
_GSO_MAX_SEGS, _GSO_MAX_SIZE = 40, 41  # IFLA_GSO_MAX_SEGS, IFLA_GSO_MAX_SIZE
_TRAIN = 65487  # octets of the largest train (weft.l2.user.underlay)
_UNTOLD = (  # offloads that the header of weft.l2.user.vnet has no words for, so that frames would be garbled
    "tx-gre-segmentation",
    "tx-gre-csum-segmentation",
    "tx-ipxip4-segmentation",
    "tx-ipxip6-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
    "tx-gso-list",
    "tx-checksum-sctp",
    "tx-sctp-segmentation",
)
_HEADERS, _SPARE = 22, 384  # VXLAN and Ethernet before an inner packet; what the kernel sets aside for headers


def attach(cluster: str, port: LocalPort, target: str) -> PortState:
    """Makes the port's device; `target` is the namespace's name on this machine. Raises WeftError."""
    home = namespace.identity(target) if port.attach.kind is AttachKind.NAMESPACE else None
    made = _ATTACH[port.attach.kind](cluster, port, target)
    made.home = home
    return made


def sound(state: PortState) -> bool:
    """Whether nothing is wrong with a port's device."""
    try:
        return not flaws(state)
    except (WeftError, OSError):
        return False


def restate(cluster: str, state: PortState, port: LocalPort, target: str) -> PortState | None:
    """The same device for what the port is now, put right; None where it cannot serve.

    It stays whenever it can, since routes of others lead by it. A packet socket is opened anew, for one that has seen
    its device down says so later; the device under it stays (`release`), which a virtual machine holds open.
    """
    made = replace(state, port=port)
    if state.gone or port.attach.kind in _PACKETS or not stays(state, port, target):
        return None
    try:
        _mend(cluster, made)
    except (WeftError, OSError):
        return None
    return made if sound(made) else None


def release(cluster: str, state: PortState, port: LocalPort, target: str) -> None:
    """Closes a device that `restate` could not keep; one that the port is to have again stays there."""
    if stays(state, port, target):
        state.device.close()
    else:
        detach(cluster, state)


def detach(cluster: str, state: PortState) -> None:
    """Closes the device, and removes what would outlive that."""
    name = _outlives(cluster, state.port)
    if not state.veth:
        with contextlib.suppress(OSError):
            name = called(state)
    state.device.close()
    if state.veth or state.port.attach.kind in _PACKETS:
        _remove(cluster, state.port, name)


def each_at_once(gone: Callable[[PortState], None], states: Iterable[PortState]) -> list[OSError | WeftError]:
    """Closes or detaches many devices, of which the kernel removes one in tens of milliseconds but several together.

    Returns what went wrong.
    """

    def tried(state: PortState) -> OSError | WeftError | None:
        try:
            gone(state)
        except (WeftError, OSError) as error:
            return error
        return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [error for error in pool.map(tried, states) if error]


def remove(cluster: str, port: LocalPort) -> None:
    """Removes a port's device from the host's namespace, if it is there and ours; releases an interface."""
    _remove(cluster, port, _outlives(cluster, port))


def _remove(cluster: str, port: LocalPort, name: str) -> None:
    channel = Channel()
    try:
        links = Links(channel)
        link = links.get(name)
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
    if port.attach.kind in _PACKETS:
        return port.attach.target
    return names.veth(cluster, port.name)


def _mend(cluster: str, state: PortState) -> None:
    """States everything of the device anew. Raises WeftError, OSError."""
    port = state.port
    _same_home(state)
    if state.veth:
        _near(names.veth(cluster, port.name), port.mtu)
    home = inside(state)
    channel = Channel(namespace=home)
    try:
        _end(channel, home, port, device_name(port), None if state.veth else _alias(cluster, port))
    finally:
        channel.close()


def _near(name: str, mtu: int) -> None:
    """The MTU of a pair's end here."""
    channel = Channel()
    try:
        if link := Links(channel).get(name):
            Links(channel).change(link, Change(mtu=mtu))
    finally:
        channel.close()


def flaws(state: PortState) -> list[str]:
    """What is wrong with a port's device beyond the plan's attributes. Raises WeftError, OSError."""
    port, name = state.port, device_name(state.port)
    if state.gone:
        return [state.gone]
    if port.attach.kind is AttachKind.INTERFACE:
        return []
    _same_home(state)
    try:
        if (now := called(state)) != name:
            return [f"{name} is called {now}"]
    except OSError:
        return [f"{name} is gone"]
    channel = Channel(namespace=inside(state))
    try:
        link = Links(channel).get(name)
        if link is None:
            return [f"{name} is gone"]
        there = Addresses(channel).of(link)
        gateways = default_route.found(Routing(channel).routes()).get(link.index, ())
    finally:
        channel.close()
    found = [] if link.up else [f"{name} is down"]
    found += [] if link.mtu == port.mtu else [f"{name} has MTU {link.mtu}"]
    if port.attach.kind is AttachKind.TAP:
        found += [f"{name} has {text}" for text in there]
        return [*found, f"{name} belongs to a bridge or bond"] if link.master else found
    found += [] if link.mac == port.mac else [f"{name} has MAC {link.mac}"]
    found += [f"{name} lacks {text}" for text in port.addresses if text not in there]
    found += [f"{name} has {text}" for text in there if text not in port.addresses]
    found += [f"{name} has no default route by {text}" for text in port.gateways if text not in gateways]
    return found


def _same_home(state: PortState) -> None:
    """Raises WeftError where the end point's namespace is gone: our device keeps it alive, but its name says so."""
    if inside(state) is None:
        return
    where = f"port {state.port.name}"
    namespace.required(state.target, by=where)
    if namespace.identity(state.target) != state.home:
        raise WeftError(Kind.FAILED, f"namespace '{state.target}' was made anew", where=where)


def _alias(cluster: str, port: LocalPort, **more: str) -> str:
    return str(Alias(cluster, DeviceKind.PORT, port.name, {"attach": str(port.attach.kind)} | more))


def _host(cluster: str, port: LocalPort, target: str) -> PortState:
    return _end_point(cluster, port, target, None)


def _namespace(cluster: str, port: LocalPort, target: str) -> PortState:
    namespace.required(target, by=f"port {port.name}")
    return _end_point(cluster, port, target, target)


def _end_point(cluster: str, port: LocalPort, target: str, inside: Namespace) -> PortState:
    remove(cluster, port)  # a pair that an earlier forwarder left
    name = device_name(port)
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
            raise foreign(name, f"namespace '{inside}'" if inside else "the host")
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
    """No frame bigger than one train, since a few octets more would cost a system call of their own, and none of more
    segments than are taken."""
    largest = _TRAIN // (mtu + _HEADERS) * (mtu - 52) + _SPARE
    bounds = m.u32(_GSO_MAX_SIZE, min(largest, 65536)) + m.u32(_GSO_MAX_SEGS, SEGMENTS_MAX)
    try:
        channel.request(RTM_NEWLINK, 0, Change().encode(link.index) + bounds)
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
        switch_off(end, _UNTOLD, inside)
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


def _packet(cluster: str, port: LocalPort, target: str) -> PortState:
    """A device of the host, or a TAP for others to open, with a packet socket on it."""
    name = port.attach.target
    channel = Channel()
    try:
        if port.attach.kind is AttachKind.TAP and Links(channel).get(name) is None:
            tap.create(name)
            _settle(cluster, port, fresh=True)
        else:
            _settle(cluster, port)
        return PortState(port, target, PacketSocket(name))
    finally:
        channel.close()


def _settle(cluster: str, port: LocalPort, fresh: bool = False) -> None:
    """States what is ours to state of a TAP (a `fresh` one we have just made) or an interface. Raises WeftError."""
    channel, where, name = Channel(), f"port {port.name}", port.attach.target
    own = port.attach.kind is AttachKind.TAP
    try:
        links, addresses = Links(channel), Addresses(channel)
        link = links.get(name)
        if link is None:
            raise WeftError(Kind.FAILED, f"interface {name} does not exist", where=where, remedy="create it first")
        alias = names.parse_alias(link.alias, cluster)
        ours = fresh or (alias is not None and alias.kind is DeviceKind.PORT and alias.name == port.name)
        if not ours and (own or alias):
            raise foreign(name, "the host")
        there = tuple(text for text in addresses.of(link) if own or not text.startswith("fe80:"))
        if own:
            addresses.make(link, (), there)
        elif there:
            what = f"{name} has {there[0]}, and the host would answer beside the segment"
            remedy = f"choose another device; if nothing needs the address: ip address delete {there[0]} dev {name}"
            raise WeftError(Kind.FAILED, what, where=where, remedy=remedy)
        elif link.master:
            what = f"{name} belongs to a bridge or bond"
            raise WeftError(Kind.FAILED, what, where=where, remedy=f"ip link set {name} nomaster")
        was = alias.details.get("was", "") if ours and alias else link.alias
        told = _alias(cluster, port, **({"was": was} if was and not own else {}))
        change = Change(alias=told, up=True)
        if own:
            change = Change(alias=told, mtu=port.mtu, quiet=True, up=True, master=0 if link.master else None)
        links.change(link, change)
        if own:
            _quiet(name)
    finally:
        channel.close()


_PACKETS = (AttachKind.TAP, AttachKind.INTERFACE)
_ATTACH: dict[AttachKind, Callable[[str, LocalPort, str], PortState]] = {
    AttachKind.HOST: _host,
    AttachKind.NAMESPACE: _namespace,
    AttachKind.TAP: _packet,
    AttachKind.INTERFACE: _packet,
}
