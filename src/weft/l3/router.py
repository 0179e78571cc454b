"""A router's namespace put, dropped, read back: settings, own addresses, the L3 VNI's device, the outside and its NAT.

The L3 VNI's vxlan device is made in the host's namespace, where its UDP socket stays, and moved into the router's: it
needs no bridge, since nothing else can ever be in that segment. Beside a datapath that takes the UDP port, it is the
device that a seat puts there (weft.l3.seat). The outside is a device of the host, moved in likewise
and given back when the router goes.
net/ipv4/ip_output.c; Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

import ipaddress

from weft.l3.inside import Inside, RouterHost
from weft.l3.seat import L3Seat
from weft.model.address import UDP_PORT_VXLAN, is_ipv6
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.netlink import message as m
from weft.netlink import namespace, nft_nat
from weft.netlink.alias import Alias, DeviceKind, parse_alias
from weft.netlink.links import Change, Link, Vxlan
from weft.plan.router import HOST_NAMESPACE, L3Segment, Outside, Router, l3_device

_SETTINGS = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
    "ipv4/icmp_errors_use_inbound_ifaddr": 1,  # hosts are told by the address that they know the router by
    "ipv4/fib_multipath_hash_policy": 1,  # ports count: flows of one pair of hosts use several next hops
    "ipv6/fib_multipath_hash_policy": 1,
    "ipv6/conf/default/disable_ipv6": 1,  # until a device is known to need it
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/addr_gen_mode": 1,
}
_LOOPBACK = ("127.0.0.1/8", "::1/128")
_TTL = 64


def put(host: RouterHost, router: Router, seat: L3Seat | None = None) -> None:
    """Makes the router as stated, without interfaces, routes and rules. Raises WeftError."""
    if router.namespace == HOST_NAMESPACE:
        if (there := host.find(router.name)) and not there.host:  # one of its own, which it leaves
            drop(host, router, seat)
        host.settle(router.name)
        return
    inside = host.make(router.name)
    inside.settings(_SETTINGS)
    inside.links.change(inside.there("lo"), Change(up=True))
    _put_l3(host, inside, router, seat)
    _put_own(inside, router)
    _put_outside(host, inside, router)


def drop(host: RouterHost, router: Router, seat: L3Seat | None = None) -> None:
    """Gives the outside back and removes the namespace; what is gone already is no error."""
    if seat:
        seat.drop(router.name)
    if (inside := host.find(router.name)) is None:
        return
    for link in host.devices(inside):
        _give_back(host, inside, link)
    host.drop(router.name)


def _put_own(inside: Inside, router: Router) -> None:
    """The router's own addresses: on the L3 VNI's device, since IPv6 speaks with those of the way out, else on lo."""
    for device in ("lo", router.l3.device) if router.l3 else ("lo",):
        link = inside.there(device)
        there = tuple(text for text in _stated(inside.addresses.of(link)) if text not in _LOOPBACK)
        last = device != "lo" or router.l3 is None
        inside.addresses.make(link, router.addresses if last else (), there)


def _put_l3(host: RouterHost, inside: Inside, router: Router, seat: L3Seat | None) -> None:
    wanted = router.l3
    for there in inside.links.dump():
        if there.kind == "vxlan" and _kind(host, there) is DeviceKind.ROUTER and (seat or not _is(there, wanted)):
            inside.links.delete(there)
    if seat and not wanted:
        seat.drop(router.name)
    if wanted is None:
        return
    alias = str(Alias(host.cluster, DeviceKind.ROUTER, router.name))
    if seat:
        seat.put(router)
        link = inside.there(wanted.device)
        if link.alias != alias:
            inside.links.change(link, Change(alias=alias))
    else:
        link = inside.links.get(wanted.device) or _create(host, inside, router.name, wanted)
    inside.settings({f"ipv6/conf/{wanted.device}/disable_ipv6": 0})
    mac = wanted.mac if link.mac != wanted.mac else None
    inside.links.change(link, Change(mac=mac, mtu=wanted.mtu, quiet=True, up=True))


def _create(host: RouterHost, inside: Inside, router: str, wanted: L3Segment) -> Link:
    if (left := host.links.get(wanted.device)) is not None:
        if _kind(host, left) is not DeviceKind.ROUTER:
            what = f"L3 VNI {wanted.key} has a device {wanted.device} on this host already"
            raise WeftError(Kind.FAILED, what, where=f"router {router}", remedy="choose another `vni`")
        host.links.delete(left)  # of one that was killed on the way
    local = ipaddress.ip_address(wanted.vtep)
    info = m.u32(Vxlan.ID, wanted.key.vni) + m.be16(Vxlan.PORT, wanted.key.udp_port)
    info += m.attribute(Vxlan.LOCAL if local.version == 4 else Vxlan.LOCAL6, local.packed)
    info += m.u8(Vxlan.LEARNING, 0) + m.u8(Vxlan.TTL, _TTL)
    alias = str(Alias(host.cluster, DeviceKind.ROUTER, router))
    made = host.links.create(
        Change(name=wanted.device, kind="vxlan", mac=wanted.mac, mtu=wanted.mtu, alias=alias, quiet=True, info=info)
    )
    with namespace.opened(inside.name) as fd:
        host.links.change(made, Change(namespace=fd))
    moved = inside.there(wanted.device)
    inside.links.change(moved, Change(alias=alias))
    return moved


def _is(link: Link, wanted: L3Segment | None) -> bool:
    found = _l3(link)
    return wanted is not None and (found.key, found.vtep, found.device) == (wanted.key, wanted.vtep, wanted.device)


def _l3(link: Link) -> L3Segment:
    port = int.from_bytes(link.info.get(Vxlan.PORT, b""), "big") or UDP_PORT_VXLAN
    local = link.info.get(Vxlan.LOCAL) or link.info.get(Vxlan.LOCAL6)
    vtep = str(ipaddress.ip_address(local)) if local else ""
    return L3Segment(SegmentKey(port, link.info_int(Vxlan.ID)), link.name, vtep, link.mac, link.mtu)


def _put_outside(host: RouterHost, inside: Inside, router: Router) -> None:
    wanted = router.outside
    for there in inside.links.dump():
        if wanted is None or there.name != wanted.interface:
            _give_back(host, inside, there)
    if wanted is None:
        inside.nat.put("", False, ())
        return
    link = inside.links.get(wanted.interface) or _take(host, inside, router.name, wanted.interface)
    ipv6 = any(is_ipv6(text) for text in wanted.addresses)
    inside.settings({f"ipv6/conf/{wanted.interface}/disable_ipv6": int(not ipv6)})
    inside.links.change(link, Change(quiet=True))
    inside.addresses.make(link, wanted.addresses, _stated(inside.addresses.of(link)))
    inside.links.change(link, Change(up=True))
    inside.nat.put(wanted.interface, wanted.masquerade, wanted.nat)


def outside(host: RouterHost, router: str, interface: str) -> Link:
    """The device of the host that a router is to have as its outside. Raises WeftError where it cannot have it."""
    link, where = host.links.get(interface), f"router {router}"
    if link is None:
        raise WeftError(Kind.FAILED, f"its outside {interface} does not exist", where=where, remedy="create it first")
    if link.alias.startswith("weft:"):
        raise WeftError(Kind.FAILED, f"{interface} is weft's own device", where=where, remedy="name one of the host's")
    if addresses := _stated(host.addresses.of(link)):
        what = f"{interface} has {addresses[0]} and would lose it to the router"
        raise WeftError(Kind.FAILED, what, where=where, remedy="name a device whose addresses the host does not need")
    if link.master:
        what = f"{interface} belongs to a bridge or bond"
        raise WeftError(Kind.FAILED, what, where=where, remedy=f"ip link set {interface} nomaster")
    return link


def _take(host: RouterHost, inside: Inside, router: str, interface: str) -> Link:
    link = outside(host, router, interface)
    with namespace.opened(inside.name) as fd:
        host.links.change(link, Change(namespace=fd))
    moved = inside.there(interface)
    before = {"up": "yes"} if link.up else {}
    details = before | {"was": link.alias}
    inside.links.change(moved, Change(alias=str(Alias(host.cluster, DeviceKind.OUTSIDE, router, details))))
    return moved


def _give_back(host: RouterHost, inside: Inside, link: Link) -> None:
    alias = parse_alias(link.alias, host.cluster)
    if alias is None or alias.kind is not DeviceKind.OUTSIDE:
        return
    inside.links.change(link, Change(alias=alias.details.get("was", "")))
    with namespace.opened(host.namespace or namespace.OWN) as fd:
        inside.links.change(link, Change(namespace=fd))
    if alias.details.get("up") and (back := host.links.get(link.name)):
        host.links.change(back, Change(up=True))


def _stated(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Without those that the kernel makes itself."""
    return tuple(text for text in addresses if not text.startswith("fe80:"))


def _kind(host: RouterHost, link: Link) -> DeviceKind | None:
    alias = parse_alias(link.alias, host.cluster)
    return alias.kind if alias else None


def read(host: RouterHost, inside: Inside, name: str, links: list[Link]) -> tuple[Router, list[str]]:
    """The router without interfaces, routes and rules, and its flaws."""
    if inside.host:
        return Router(name, ""), []
    flaws = [f"net/{setting} is not {_SETTINGS[setting]}" for setting in inside.unset(_SETTINGS)]
    addresses = inside.addresses.dump()
    own: tuple[str, ...] = ()
    l3: L3Segment | None = None
    outside: Outside | None = None
    for link in links:
        kind = _kind(host, link)
        if kind is DeviceKind.ROUTER:
            own += tuple(text for text in _stated(addresses.get(link.index, ())) if text not in _LOOPBACK)
        if link.kind == "vxlan" and kind is DeviceKind.ROUTER:
            l3 = _l3(link)
            if link.name != l3_device(l3.key) or link.info_int(Vxlan.LEARNING):
                flaws.append(f"{link.name} is not as it was made")
        elif kind is DeviceKind.OUTSIDE:
            rules = inside.nat.observe()
            outside = _outside(link.name, _stated(addresses.get(link.index, ())), rules)
            if rules != nft_nat.wanted(link.name, outside.masquerade, outside.nat):
                flaws.append("nft table inet weft is incomplete")
        if kind is not None and not link.up:
            flaws.append(f"{link.name} is down")
    return Router(name, "", own, l3, outside), flaws


def _outside(device: str, addresses: tuple[str, ...], rules: tuple[str, ...]) -> Outside:
    words = [rule.split() for rule in rules]
    nat = tuple((rule[3], rule[2]) for rule in words if rule[0] == "dnat" and len(rule) == 4)
    return Outside(device, addresses, any(rule[0] == "masquerade" for rule in words), nat)
