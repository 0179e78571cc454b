"""Checks of networks: VNIs, subnets, modes that go together, groups, limits.

The table of modes is DESIGN's "How a network behaves" (weft.model.network.MODES and the gateway column here); whatever
stands outside it is refused with the reason.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from weft.model.address import (
    MTU_MAX,
    MTU_MIN,
    MTU_MIN_IPV6,
    UDP_PORT_PROBES,
    UDP_PORT_VXLAN,
    VNI_MAX,
    VNI_MIN,
    is_ipv6,
)
from weft.model.intent import Intent
from weft.model.network import AGE_MAX, MODES, Arp, FloodMode, Learning, Network, SegmentKey
from weft.model.prefix import participants
from weft.model.router import Router
from weft.model.subnet import Span, span
from weft.model.validate.problem import Path, Problem, name_problem

_REASONS = {
    (Learning.DATA_PLANE, Arp.SUPPRESS): (
        "arp suppress does not go with learning data-plane: the VTEP knows no addresses to answer from",
        "use arp: flood, or learning: control-plane",
    ),
    (FloodMode.NONE, Learning.DATA_PLANE): (
        "flood none does not go with learning data-plane: VTEPs learn from what is flooded",
        "use flood: ingress-replication, or learning: control-plane",
    ),
    (FloodMode.NONE, Arp.FLOOD): (
        "arp flood does not go with flood none: no ARP request would ever reach its target",
        "use arp: suppress, or flood: ingress-replication",
    ),
}

_KEPT = {
    "127.0.0.0/8": "loopback",
    "::1/128": "loopback",
    "169.254.0.0/16": "link-local",
    "fe80::/10": "link-local",
    "224.0.0.0/4": "multicast",
    "ff00::/8": "multicast",
}
_LINK_GROUPS = ipaddress.IPv4Network("224.0.0.0/24")


def network_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    keys: dict[SegmentKey, str] = {}
    joined = members(intent)
    routers = routers_in(intent)
    for name, network in intent.networks.items():
        found += name_problem(("networks", name), "network", name)
        found += _numbers(network, keys)
        found += _subnets(network)
        found += _modes(network)
        found += _gateways(network, routers.get(name, []))
        found += _families(network, joined.get(name, {}), intent)
    for name, router in intent.routers.items():
        if router.vni is not None:
            path: Path = ("routers", name, "vni")
            found += _vni(path, f"router '{name}': L3", router.vni)
            found += _unique(path, f"router '{name}'", SegmentKey(UDP_PORT_VXLAN, router.vni), keys)
    return found


def _vni(path: Path, subject: str, vni: int) -> list[Problem]:
    if VNI_MIN <= vni <= VNI_MAX:
        return []
    reason = "is refused by choice" if vni == 0 else "does not fit in 24 bits"
    return [Problem(path, f"{subject} VNI {vni} {reason}", f"choose one of {VNI_MIN} to {VNI_MAX}")]


def _unique(path: Path, subject: str, key: SegmentKey, keys: dict[SegmentKey, str]) -> list[Problem]:
    other = keys.setdefault(key, subject)
    if other == subject:
        return []
    what = f"{subject}: VNI {key.vni} on UDP port {key.udp_port} belongs to {other} already"
    return [Problem(path, what, "choose another VNI")]


def _numbers(network: Network, keys: dict[SegmentKey, str]) -> list[Problem]:
    path: Path = ("networks", network.name)
    subject = f"network '{network.name}'"
    found = _vni((*path, "vni"), f"{subject}:", network.vni)
    found += _unique((*path, "vni"), subject, network.key, keys)
    if not 1 <= network.udp_port <= 65535:
        what = f"{subject}: UDP port {network.udp_port} does not exist"
        found.append(Problem((*path, "udp_port"), what, "choose one of 1 to 65535, 4789 as a rule"))
    elif network.udp_port == UDP_PORT_PROBES:
        what = f"{subject}: UDP port {UDP_PORT_PROBES} carries Weft's own probes of who is alive"
        found.append(Problem((*path, "udp_port"), what, "choose another, 4789 as a rule"))
    if not 1 <= network.age <= AGE_MAX:
        what = f"{subject}: a learned MAC cannot live {network.age} seconds"
        found.append(Problem((*path, "age"), what, f"choose 1 to {AGE_MAX} seconds"))
    if network.mtu is not None:
        ipv6 = any(is_ipv6(subnet) for subnet in network.subnets)
        least = MTU_MIN_IPV6 if ipv6 else MTU_MIN
        if not least <= network.mtu <= MTU_MAX:
            what = f"{subject}: MTU {network.mtu} is out of range{' for a network with IPv6' if ipv6 else ''}"
            found.append(Problem((*path, "mtu"), what, f"choose {least} to {MTU_MAX}, or leave it out"))
    return found


def _subnets(network: Network) -> list[Problem]:
    found: list[Problem] = []
    path: Path = ("networks", network.name, "subnets")
    if not network.subnets:
        found.append(Problem(path[:2], f"network '{network.name}': no subnet", "write subnet: 10.1.1.0/24"))
    good: list[str] = []
    for index, subnet in enumerate(network.subnets):
        try:
            here = span(subnet)
        except ValueError:
            what = f"network '{network.name}': '{subnet}' is not a subnet"
            found.append(Problem((*path, index), what, "write it as 10.1.1.0/24"))
            continue
        if reason := _unfit(subnet, here):
            remedy = f"choose a unicast subnet, such as {'2001:db8:1::/64' if here.version == 6 else '10.1.1.0/24'}"
            found.append(Problem((*path, index), f"network '{network.name}': {subnet} {reason}", remedy))
            continue
        other = next((other for other in good if span(other).overlaps(here)), None)
        if other:
            what = f"network '{network.name}': subnets {other} and {subnet} overlap"
            found.append(Problem((*path, index), what, "remove one or make them apart"))
        good.append(subnet)
    return found


def _unfit(subnet: str, here: Span) -> str:
    """Why no network can have this subnet, if so."""
    if subnet.endswith("/0"):
        return "is every address there is: nothing would be left outside"
    for kept, kind in _KEPT.items():
        there = span(kept)
        if here.overlaps(there):
            inside = there.low <= here.low and here.high <= there.high
            return f"is {kind}: no network has it for its own" if inside else f"holds {kept}, which is {kind}"
    return ""


def _modes(network: Network) -> list[Problem]:
    path: Path = ("networks", network.name)
    modes = (network.learning, network.flood, network.arp)
    if network.arp in MODES.get((network.learning, network.flood), ()):
        return _group(network)
    pairs = [(network.learning, network.arp), (network.flood, network.learning), (network.flood, network.arp)]
    for pair in pairs:
        if pair in _REASONS:
            reason, remedy = _REASONS[pair]
            key = "flood" if pair[0] is FloodMode.NONE and pair[1] is Learning.DATA_PLANE else "arp"
            return [Problem((*path, key), f"network '{network.name}': {reason}", remedy), *_group(network)]
    return [Problem(path, f"network '{network.name}': {' + '.join(modes)} do not go together", "see docs/file.md")]


def _group(network: Network) -> list[Problem]:
    path: Path = ("networks", network.name, "group")
    if network.flood is not FloodMode.GROUP:
        return []
    try:
        group = ipaddress.ip_address(network.group or "")
    except ValueError:
        group = None
    if group and group.is_multicast:
        reason = _unforwarded(group)
        what = f"network '{network.name}': group {network.group} {reason}"
        remedy = "choose one of 239.0.0.0/8" if group.version == 4 else "choose one of ff05::/16 (site-local) or wider"
        return [Problem(path, what, remedy)] if reason else []
    what = f"network '{network.name}': {network.group or 'nothing'} is not a multicast group"
    return [Problem(path, what, "choose one of 224.0.0.0/4 (239.0.0.0/8 is for private use) or ff00::/8")]


def _unforwarded(group: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Why a multicast group cannot carry what is flooded, if so."""
    if group.version == 4:
        return "is of 224.0.0.0/24, which no router forwards (RFC 5771)" if group in _LINK_GROUPS else ""
    scope = int(group) >> 112 & 0xF  # RFC 4291 section 2.7; 0 is reserved
    return "is of a scope that does not leave its interface (RFC 4291)" if scope <= 1 else ""


def _gateways(network: Network, routers: list[Router]) -> list[Problem]:
    """The gateway column of the table of modes. A border is a placed router beside the distributed one."""
    path: Path = ("networks", network.name, "arp")
    subject = f"network '{network.name}'"
    data_plane = network.learning is Learning.DATA_PLANE
    distributed = [router.name for router in routers if not router.placement]
    found: list[Problem] = []
    if network.arp is Arp.PROXY and not distributed:
        what = f"{subject}: arp proxy without a distributed gateway: no node has a gateway to answer with"
        found.append(Problem(path, what, "add a router with placement: distributed, or use another arp mode"))
    elif network.arp is Arp.PROXY and any(is_ipv6(subnet) for subnet in network.subnets):
        what = f"{subject}: arp proxy answers ARP only, not IPv6's ND, in this version"
        found.append(Problem(path, what, "use arp: suppress, or leave the IPv6 subnet out"))
    if data_plane and network.arp is Arp.FLOOD and distributed:
        what = f"{subject}: a distributed gateway ('{distributed[0]}') with learning data-plane wants the ARP relay"
        found.append(Problem(path, what, "use arp: proxy, learning: control-plane, or a placement on nodes"))
    if network.relayed and len(distributed) > 1:
        what = f"{subject}: the ARP relay with two distributed gateways ('{distributed[0]}' and '{distributed[1]}')"
        found.append(Problem(path, what, "hosts know one of them only: place the other on nodes"))
    symmetric = [router.name for router in routers if router.vni is not None]
    if data_plane and symmetric:
        what = (
            f"{subject}: router '{symmetric[0]}' has an L3 VNI, and learning data-plane tells no node what is behind it"
        )
        found.append(
            Problem((*path[:2], "learning"), what, f"use learning: control-plane, or no vni in '{symmetric[0]}'")
        )
    return found


def _families(network: Network, members: Mapping[str, None], intent: Intent) -> list[Problem]:
    """VXLAN's outer header is of one family: that of all members' VTEPs and of the group."""
    nodes = [intent.nodes[name] for name in members if name in intent.nodes]
    ipv4 = next((node for node in nodes if not is_ipv6(node.vtep)), None)
    ipv6 = next((node for node in nodes if is_ipv6(node.vtep)), None)
    path: Path = ("networks", network.name)
    if ipv4 and ipv6:
        pair = f"{ipv4.vtep} ('{ipv4.name}') and {ipv6.vtep} ('{ipv6.name}')"
        what = f"network '{network.name}': VTEPs of both families: {pair}"
        return [Problem(path, what, "give all its nodes VTEPs of one family")]
    other = ipv4 if is_ipv6(network.group or "") else ipv6
    if network.flood is FloodMode.GROUP and network.group and other:
        vtep = f"node '{other.name}' with VTEP {other.vtep}"
        what = f"network '{network.name}': group {network.group} is not of the family of {vtep}"
        return [Problem((*path, "group"), what, f"choose an IPv{6 if is_ipv6(other.vtep) else 4} group")]
    return []


def routers_in(intent: Intent) -> dict[str, list[Router]]:
    """Network → the routers with a gateway in it."""
    routers: dict[str, list[Router]] = {}
    for router in intent.routers.values():
        for network in router.gateways:
            routers.setdefault(network, []).append(router)
    return routers


def members(intent: Intent) -> dict[str, dict[str, None]]:
    """Network → the nodes that take part: by a port, a placed router, a distributed one that they need, or a prefix."""
    joined: dict[str, dict[str, None]] = {
        name: dict.fromkeys(participants(network, intent.nodes))
        for name, network in intent.networks.items()
        if network.routed
    }
    for port in intent.ports.values():
        joined.setdefault(port.network, {})[port.node] = None
    by_ports = {name: dict(nodes) for name, nodes in joined.items()}
    for router in intent.routers.values():
        nodes = dict.fromkeys(router.placement)
        if not router.placement:
            for network in router.gateways:
                nodes.update(by_ports.get(network, {}))
        for network in router.gateways:
            joined.setdefault(network, {}).update(nodes)
    return joined
