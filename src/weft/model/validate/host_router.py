"""Checks of routers in their node's own network stack: nothing that would need the stack itself changed, or cut it off.

What they get is what a host can be given beside its own: devices, addresses and routes by these devices. Anycast
gateways need accept_local and a relaxed rp_filter, policies need rules among the host's, an L3 VNI and an outside a
routing table alone. What of the host's lies in the way only its node knows (weft.l3.host).
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.model.address import is_ipv6
from weft.model.intent import Intent
from weft.model.network import Arp
from weft.model.node import DatapathKind
from weft.model.port import AttachKind
from weft.model.router import Router
from weft.model.subnet import Span, number, span
from weft.model.validate.problem import Path, Problem

_OWN = "remove it, or `namespace: host`"


def host_router_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    held: dict[str, str] = {}  # node → the router in its stack
    for name, router in intent.routers.items():
        if router.in_host:
            found += _modes(router, intent)
            found += _nodes(router, intent, held)
            found += _underlay(router, intent)
            found += _beside(router, intent)
        elif router.namespace is not None:
            what = f"router '{name}': namespace {router.namespace!r} is unknown"
            found.append(Problem(("routers", name, "namespace"), what, "write host, or leave it out"))
    return found


def _modes(router: Router, intent: Intent) -> Iterator[Problem]:
    path: Path = ("routers", router.name)
    subject = f"router '{router.name}': in its node's own namespace it"
    if not router.placement:
        what = f"{subject} cannot be distributed: anycast gateways need settings of the whole stack"
        yield Problem((*path, "namespace"), what, "add placement: [NODE], or remove `namespace: host`")
    if router.vni is not None:
        yield Problem((*path, "vni"), f"{subject} cannot have an L3 VNI", _OWN)
    if router.external:
        what = f"{subject} has the host's own ways out and takes no `external`"
        yield Problem((*path, "external"), what, "remove it: forwarding and NAT on other devices are the host's")
    if router.policies:
        yield Problem((*path, "policies"), f"{subject} cannot have policies: the host's rules are its own", _OWN)
    for name, addresses in router.gateways.items():
        network = intent.networks.get(name)
        if network and network.arp is Arp.PROXY:
            yield Problem((*path, "gateways", name), f"{subject} cannot be in '{name}' with arp: proxy", _OWN)
        for index, address in enumerate(addresses):
            if is_ipv6(address):
                what = f"{subject} is IPv4 only, and {address} is not"
                yield Problem((*path, "gateways", name, index), what, "remove the address, or `namespace: host`")
    for index, route in enumerate(router.routes):
        if is_ipv6(route.to):
            yield Problem((*path, "routes", index), f"{subject} is IPv4 only, and {route.to} is not", _OWN)


def _nodes(router: Router, intent: Intent, held: dict[str, str]) -> Iterator[Problem]:
    for index, name in enumerate(router.placement):
        path: Path = ("routers", router.name, "placement", index)
        other = held.setdefault(name, router.name)
        if other != router.name:
            what = f"router '{router.name}': node '{name}' has router '{other}' in its own namespace already"
            yield Problem(path, what, "choose another node, or remove `namespace: host` from one of them")
        node = intent.nodes.get(name)
        if node and node.datapath is not DatapathKind.KERNEL:
            needs = f"`namespace: host` needs the kernel datapath; node '{name}' has {node.datapath}"
            yield Problem(path, f"router '{router.name}': {needs}", "choose another node, or remove it")


def _underlay(router: Router, intent: Intent) -> Iterator[Problem]:
    """What leads to a VTEP address must not lead into the overlay, or tunnels would carry themselves."""
    reach: list[tuple[Path, str]] = [
        (("gateways", name), subnet)
        for name in router.gateways
        if name in intent.networks
        for subnet in intent.networks[name].subnets
    ]
    reach += [(("routes", index, "to"), route.to) for index, route in enumerate(router.routes)]
    for where, subnet in reach:
        here = _span(subnet)
        inside = next((node for node in intent.nodes.values() if here and _holds(here, node.vtep)), None)
        if inside:
            what = (
                f"router '{router.name}': {subnet} holds the VTEP {inside.vtep} of node '{inside.name}': in the "
                "host's own namespace it would lead tunnels into themselves"
            )
            yield Problem(("routers", router.name, *where), what, "narrow it, or remove `namespace: host`")


def _beside(router: Router, intent: Intent) -> Iterator[Problem]:
    """A port that is the host itself has its network's subnet on the host already."""
    mine = [(name, here) for name in router.gateways for here in _spans(intent, name)]
    for port in intent.ports.values():
        if port.attach.kind is not AttachKind.HOST or port.node not in router.placement:
            continue
        theirs = _spans(intent, port.network)
        for name, here in mine:
            if any(here.overlaps(other) for other in theirs):
                what = f"router '{router.name}': port '{port.name}' gives node '{port.node}' the subnet of '{name}' too"
                remedy = "remove one: in `namespace: host` the gateway is the host's address in the network"
                yield Problem(("routers", router.name, "gateways", name), what, remedy)
                break


def _spans(intent: Intent, network: str) -> list[Span]:
    found = (_span(subnet) for subnet in intent.networks[network].subnets) if network in intent.networks else ()
    return [here for here in found if here]


def _span(subnet: str) -> Span | None:
    try:
        return span(subnet)
    except ValueError:
        return None


def _holds(here: Span, address: str) -> bool:
    try:
        return here.holds(number(address))
    except ValueError:
        return False
