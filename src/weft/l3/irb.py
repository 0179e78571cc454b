"""IRB interfaces: what a router adds to the device that its port into a segment is.

centralized   the device itself has the gateway's addresses, given to it with the port
distributed   the device has the node's own MAC and no address (arp_ignore 8: it answers for none); on it stands a
              macvlan with the anycast MAC and the gateway's addresses alone. Local ports speak with that one, and what
              is routed leaves by the other, so the anycast MAC stays at home.
In `arp: proxy` the macvlan answers for every address that the router has a way to, since that way leads by another
device. Where no table names a neighbor the device does not ask (`asks`): it has nothing to ask in its own name with.

relayed       as centralized, with the node's own MAC where the gateway is distributed: it answers local ports for
              every address of its subnet (proxy_arp_pvlan), and has the agent ask for neighbors (app_solicit). Packets
              of the other nodes' routers may come from its own address (accept_local).
drivers/net/macvlan.c; net/ipv4/arp.c, arp_process(), arp_fwd_pvlan(), arp_solicit().
"""

from __future__ import annotations

from dataclasses import replace

from weft.l3.inside import Inside, RouterHost
from weft.model.address import is_ipv6
from weft.model.network import SegmentKey
from weft.netlink import message as m
from weft.netlink import sysctl
from weft.netlink.alias import Alias, DeviceKind, parse_alias
from weft.netlink.links import Change, Link, Macvlan
from weft.plan.router import Irb, Router, anycast_device

_ASKS = "ipv4/neigh/{}/mcast_solicit"
_PROXY = "ipv4/conf/{}/proxy_arp"
_PRIVATE = "ipv4/conf/{}/proxy_arp_pvlan"
_ASKS_US = "ipv4/neigh/{}/app_solicit"


def put(host: RouterHost, router: Router, irb: Irb) -> None:
    """Settings, and where distributed the device of the anycast MAC. Raises WeftError."""
    inside = host.inside(router.name)
    device = host.end(inside, router.name, irb.device)
    inside.settings(_device_settings(irb, inside.host))
    top = None if inside.host else inside.links.get(anycast_device(irb.segment))
    if top and (not irb.anycast or top.kind != "macvlan" or top.lower != device.index):
        inside.links.delete(top)
        top = None
    if irb.anycast:
        top = top or _create(inside, irb, device)
        inside.links.change(
            top, Change(mac=irb.anycast if top.mac != irb.anycast else None, mtu=device.mtu, quiet=True)
        )
        inside.settings(_anycast_settings(irb))
        inside.addresses.make(top, irb.addresses, inside.addresses.of(top))
        inside.links.change(top, Change(up=True))
    details = {"segment": f"{irb.segment.udp_port}/{irb.segment.vni}"} | ({"advertise": "yes"} if irb.advertise else {})
    alias = Alias(host.cluster, DeviceKind.IRB, irb.network, details)
    inside.links.change(device, Change(alias=str(alias)))


def _create(inside: Inside, irb: Irb, device: Link) -> Link:
    mode = m.u32(Macvlan.MODE, Macvlan.PRIVATE)
    return inside.links.create(
        Change(
            name=anycast_device(irb.segment),
            kind="macvlan",
            mac=irb.anycast,
            lower=device.index,
            quiet=True,
            info=mode,
        )
    )


def _device_settings(irb: Irb, host: bool) -> dict[str, int]:
    """In the host's own namespace forwarding is on where it is needed, whatever it is for the rest."""
    name = irb.device
    solicit = 3 if irb.asks else 0
    forwarding = {f"ipv4/conf/{name}/forwarding": 1} if host else {}
    return (
        _ipv6(name, irb)
        | forwarding
        | {
            f"ipv4/conf/{name}/rp_filter": 0,
            f"ipv4/conf/{name}/send_redirects": 0,
            f"ipv4/conf/{name}/arp_ignore": 8 if irb.anycast else 1,
            f"ipv4/conf/{name}/accept_local": int(bool(irb.anycast) or irb.relayed),
            f"ipv4/neigh/{name}/proxy_delay": 0,
            _PRIVATE.format(name): int(irb.relayed and irb.proxy),
            _ASKS_US.format(name): 3 if irb.relayed else 0,
            f"ipv6/conf/{name}/accept_ra": 0,
            _ASKS.format(name): solicit,
            f"ipv6/neigh/{name}/mcast_solicit": solicit,
        }
    )


def _anycast_settings(irb: Irb) -> dict[str, int]:
    name = anycast_device(irb.segment)
    return _ipv6(name, irb) | {
        f"ipv4/conf/{name}/rp_filter": 0,
        f"ipv4/conf/{name}/send_redirects": 0,
        f"ipv4/conf/{name}/arp_ignore": 1,
        _PROXY.format(name): int(irb.proxy),
        f"ipv4/neigh/{name}/proxy_delay": 0,
        f"ipv6/conf/{name}/accept_ra": 0,
    }


def _ipv6(device: str, irb: Irb) -> dict[str, int]:
    """Off where the network has none: it would say by multicast which groups it listens to."""
    return {f"ipv6/conf/{device}/disable_ipv6": int(not any(is_ipv6(text) for text in irb.addresses))}


def read(host: RouterHost, inside: Inside, links: list[Link]) -> list[tuple[Irb, list[str]]]:
    """The interfaces that were put, with their flaws."""
    addresses = inside.addresses.dump()
    tops = {link.lower: link for link in links if link.kind == "macvlan"}
    found: list[tuple[Irb, list[str]]] = []
    for link in links:
        alias = parse_alias(link.alias, host.cluster)
        if alias is None or alias.kind is not DeviceKind.IRB:
            continue
        port, _, vni = alias.details.get("segment", "").partition("/")
        if not (port.isdecimal() and vni.isdecimal()):
            continue
        top = tops.get(link.index)
        irb = Irb(
            network=alias.name,
            segment=SegmentKey(int(port), int(vni)),
            device=link.name,
            mac=link.mac,
            addresses=addresses.get((top or link).index, ()),
            anycast=top.mac if top else "",
            proxy=_on(inside, _PROXY.format(top.name) if top else _PRIVATE.format(link.name)),
            relayed=_on(inside, _ASKS_US.format(link.name)),
            asks=sysctl.read(_ASKS.format(link.name), inside.name) != "0",
            advertise="advertise" in alias.details,
        )
        wanted = _device_settings(irb, inside.host) | (_anycast_settings(irb) if top else {})
        flaws = [f"net/{name} is not {wanted[name]}" for name in inside.unset(wanted)]
        if top and (not top.up or top.name != anycast_device(irb.segment)):
            flaws.append(f"{top.name} is down or has another name")
        found.append((irb, flaws))
    return found


def _on(inside: Inside, setting: str) -> bool:
    return sysctl.read(setting, inside.name) not in (None, "0")


def ordered(found: Irb, wanted: Irb | None) -> Irb:
    """With addresses in the order in which they were put, if they are the same: the kernel keeps one of its own."""
    if wanted and len(wanted.addresses) == len(found.addresses) and set(wanted.addresses) == set(found.addresses):
        return replace(found, addresses=wanted.addresses)
    return found
