"""The TUN device of a tunnel, made and looked after in the host's namespace: MTU, address, the network's route."""

from __future__ import annotations

from weft.l2.user.device import Tun
from weft.l2.user.iptunnel.state import TunnelState
from weft.model.errors import Kind, WeftError
from weft.netlink import sysctl
from weft.netlink.addresses import Addresses
from weft.netlink.alias import Alias, DeviceKind
from weft.netlink.channel import Channel
from weft.netlink.links import Change, Link, Links
from weft.netlink.route import PROTOCOL_PEERING, KernelRoute
from weft.netlink.routing import Routing
from weft.plan.iptunnel import IpTunnel


def make(cluster: str, tunnel: IpTunnel) -> Tun:
    """The device, ready. Raises WeftError where the name is taken."""
    channel = Channel()
    try:
        if Links(channel).get(tunnel.device):
            what = "the host has a device of this name, which is not weft's"
            remedy = "stop flanneld, if it is its own, or remove the device"
            raise WeftError(Kind.FAILED, what, where=tunnel.device, remedy=remedy)
        device = Tun(tunnel.device)
        try:
            _state(channel, cluster, tunnel)
        except BaseException:
            device.close()
            raise
        return device
    finally:
        channel.close()


def change(cluster: str, tunnel: IpTunnel) -> None:
    """Makes the device what the tunnel says, without losing a packet. Raises WeftError."""
    channel = Channel()
    try:
        _state(channel, cluster, tunnel)
    finally:
        channel.close()


def flaws(state: TunnelState) -> tuple[str, ...]:
    """What is wrong with the device."""
    tunnel = state.tunnel
    if state.gone:
        return (state.gone,)
    channel = Channel()
    try:
        link = Links(channel).get(tunnel.device)
        if link is None:
            return (f"{tunnel.device} is gone",)
        there = Addresses(channel).of(link)
        routed = _route(tunnel, link) in Routing(channel, PROTOCOL_PEERING).routes()
    finally:
        channel.close()
    found = [] if link.up else [f"{tunnel.device} is down"]
    found += [] if link.mtu == tunnel.mtu else [f"{tunnel.device} has MTU {link.mtu}"]
    found += [] if there == (tunnel.address,) else [f"{tunnel.device} has {' '.join(there) or 'no address'}"]
    found += [] if routed else [f"no route to {tunnel.network}"]
    return tuple(found)


def _state(channel: Channel, cluster: str, tunnel: IpTunnel) -> None:
    links, addresses, routing = Links(channel), Addresses(channel), Routing(channel, PROTOCOL_PEERING)
    link = links.get(tunnel.device)
    if link is None:
        raise WeftError(Kind.FAILED, "the device vanished", where=tunnel.device)
    alias = str(Alias(cluster, DeviceKind.TUNNEL, tunnel.device))
    links.change(link, Change(mtu=tunnel.mtu, alias=alias, quiet=True))
    addresses.make(link, (tunnel.address,), addresses.of(link))
    # Answers bear the device's own address, which the stack takes for a forgery from anywhere but this host.
    if sysctl.read(f"ipv4/conf/{tunnel.device}/accept_local") not in (None, "1"):
        sysctl.write(f"ipv4/conf/{tunnel.device}/accept_local", 1)
    links.change(link, Change(up=True))
    wanted = _route(tunnel, link)
    routing.put_route(wanted)
    for route in routing.routes():
        if route.hops == wanted.hops and route != wanted:
            routing.drop_route(route)


def _route(tunnel: IpTunnel, link: Link) -> KernelRoute:
    return KernelRoute(tunnel.network, (("", link.index),), metric=0, protocol=PROTOCOL_PEERING)
