"""What ports' devices are called, and how one gets another name while who has it open goes on.

We hold a device by its descriptor, whatever it is called: others may have renamed it, or its port may want another name
now. It is not made anew for that: a virtual machine would lose its TAP, and a container the routes by it. Older kernels
rename nothing that is up (dev_change_name in net/core/dev.c).
"""

from __future__ import annotations

import errno

from weft.l2 import names
from weft.l2.names import DeviceKind
from weft.l2.user.world import PortState
from weft.model.errors import Kind, WeftError
from weft.model.port import AttachKind
from weft.netlink import namespace
from weft.netlink.channel import Channel, NetlinkError
from weft.netlink.links import Change, Link, Links
from weft.netlink.namespace import Namespace
from weft.plan.port import LocalPort


def device_name(port: LocalPort) -> str:
    """What the end point's own device is called."""
    match port.attach.kind:
        case AttachKind.HOST:
            return names.bridge(port.segment)
        case AttachKind.NAMESPACE:
            return port.attach.interface
        case _:
            return port.attach.target


def inside(state: PortState) -> Namespace:
    """The namespace of the end point."""
    return state.target if state.port.attach.kind is AttachKind.NAMESPACE else None


def called(state: PortState) -> str:
    """What the device is called now. Raises OSError where it is gone."""
    return device_name(state.port) if state.veth else state.device.name()


def stays(state: PortState, port: LocalPort, target: str) -> bool:
    """Whether the device is there, and to be this port's too, if by another name; we name TAPs of ours alone."""
    if port.attach.kind is not state.port.attach.kind:
        return False
    named = state.veth or port.attach.kind is AttachKind.INTERFACE
    if named and device_name(port) != device_name(state.port):
        return False
    try:
        called(state)
    except OSError:
        return False
    if port.attach.kind is not AttachKind.NAMESPACE:
        return True
    return target == state.target and namespace.identity(target) == state.home


def rename(cluster: str, state: PortState, port: LocalPort) -> None:
    """A device that stays gets the name that its port is to have. Raises WeftError where another one has that, OSError.

    Another port's device is put aside: it has a name to come, or would not be in the way.
    """
    name, now = device_name(port), called(state)
    if now == name:
        return
    channel = Channel(namespace=inside(state))
    try:
        links = Links(channel)
        if other := links.get(name):
            alias = names.parse_alias(other.alias, cluster)
            if alias is None or alias.kind is not DeviceKind.PORT or alias.name == port.name:
                raise foreign(name, f"namespace '{state.target}'" if inside(state) else "the host")
            _rename(links, other, names.veth(cluster, alias.name))
        if link := links.get(now):
            _rename(links, link, name)
    finally:
        channel.close()


def _rename(links: Links, link: Link, name: str) -> None:
    try:
        links.change(link, Change(name=name))
    except WeftError as error:
        if not isinstance(error.__cause__, NetlinkError) or error.__cause__.errno != errno.EBUSY:
            raise
        links.change(link, Change(up=False))
        links.change(link, Change(name=name, up=link.up))


def foreign(name: str, where: str) -> WeftError:
    """Somebody else's device has the name that ours needs."""
    what = f"{where} has a device {name} already, which is not weft's"
    return WeftError(Kind.FAILED, what, where=name, remedy="choose another name, or remove that device")
