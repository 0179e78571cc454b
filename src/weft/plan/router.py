"""A router on one node: a routing table of its own, as a network namespace, and what is plugged into it.

    Router      the namespace: its name, its own addresses, L3 VNI, outside with NAT
    Irb         an interface of it in one network; the device itself is a port of the segment (weft.plan.port)
    Paths       static, connected and policy routes: few, so plain values
    tables      neighbors of each IRB; for an L3 VNI host routes, router MACs and their VTEPs: many, so arrays
                (weft.plan.tables), by `RouterDevice`

A distributed IRB has two MACs: its node's own towards tunnels and the anycast MAC towards local ports. The gateway
address stands on a device of the anycast MAC; what is routed leaves by the node's own. See docs/routers.md.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from weft.model.address import UDP_PORT_VXLAN
from weft.model.network import SegmentKey

MAIN = 254  # the kernel's main routing table
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}  # IANA's numbers, as the file says them
POLICY_TABLE = 1000  # the table of the first policy; the next one's is one higher


class RouterDevice(NamedTuple):
    """What names a device inside a router, and its tables."""

    router: str
    device: str

    def __str__(self) -> str:
        return f"{self.router}/{self.device}" if self.device else self.router


@dataclass(frozen=True, slots=True)
class Irb:
    """`mac`: the node's own. `anycast`: the MAC that local ports see, "" where it is the same (centralized).

    `addresses`: the gateway's, with prefix length; where anycast, each alone (/32, /128). `proxy`: it answers ARP for
    every address it has a route to. `asks`: it sends ARP and ND itself for neighbors that no table names. `relayed`: it
    has the agent ask for them, and what is learned stands in its table (weft.wire.relay); `proxy` then is about its own
    subnet only. `advertise`: it sends router advertisements, from its link-local address.
    """

    network: str
    segment: SegmentKey
    device: str
    mac: str
    addresses: tuple[str, ...]
    anycast: str = ""
    proxy: bool = False
    asks: bool = True
    advertise: bool = False
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class L3Segment:
    """The router's own VNI (symmetric IRB). Its vxlan device stands in the router itself; `mac` is the router MAC."""

    key: SegmentKey
    device: str
    vtep: str
    mac: str
    mtu: int

    def __str__(self) -> str:
        return f"vni {self.key} router mac {self.mac}"


@dataclass(frozen=True, slots=True)
class Outside:
    """A device of the host that stands in the router. `nat`: inside → outside address, one to one, both ways."""

    interface: str
    addresses: tuple[str, ...]
    masquerade: bool = False
    nat: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.interface} {' '.join(self.addresses)}"


@dataclass(frozen=True, slots=True)
class Hop:
    """A next hop on a device of the router, whichever subnets stand there; `via` "": the target is on it itself."""

    via: str = ""
    device: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.via and f"via {self.via}", self.device and f"dev {self.device}") if part)


@dataclass(frozen=True, slots=True)
class Route:
    """Several hops share the traffic. No hop at all: unreachable, said by ICMP. `source`: of what the router says."""

    to: str
    hops: tuple[Hop, ...] = ()
    table: int = MAIN
    source: str = ""

    def __str__(self) -> str:
        table = "" if self.table == MAIN else f" table {self.table}"
        return f"{self.to} {', '.join(map(str, self.hops)) or 'unreachable'}{table}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What matches all that is told looks into `table`. `port`: the destination's, 0 for any. Low priorities first."""

    priority: int
    table: int
    family: int  # 4 or 6
    source: str = ""
    to: str = ""
    protocol: int = 0
    port: int = 0

    def __str__(self) -> str:
        protocol = PROTOCOLS.get(self.protocol, self.protocol)
        told = [("from", self.source), ("to", self.to), ("protocol", protocol), ("port", self.port)]
        return f"{self.priority}: {' '.join(f'{name} {value}' for name, value in told if value)} table {self.table}"


@dataclass(frozen=True, slots=True)
class Router:
    """`addresses`: the router's own on this node, unlike the gateways': what it says of itself comes from them.

    `interfaces`: by device. `routes`, `rules`: sorted, no two for one key. `lost`: routes that came with its addresses
    and went without them, which no plan has.
    """

    name: str
    namespace: str
    addresses: tuple[str, ...] = ()
    l3: L3Segment | None = None
    outside: Outside | None = None
    interfaces: tuple[Irb, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    lost: tuple[Route, ...] = ()


def connected(router: Router) -> Iterator[Route]:
    """The routes that come with the router's addresses: to the subnets on its devices, link-local ones left out."""
    devices = [(irb.device, irb.addresses) for irb in router.interfaces]
    if router.outside:
        devices.append((router.outside.interface, router.outside.addresses))
    for device, addresses in devices:
        for interface in map(ipaddress.ip_interface, addresses):
            network = interface.network
            if network.num_addresses > 1 and not interface.is_link_local:
                yield Route(str(network), (Hop(device=device),))


# What a router's things are called; docs/architecture.md, "What is ours: the name law".


HOST_NAMESPACE = "/host"  # the node's own; no namespace can be called so


def namespace_of(router: str, in_host: bool = False) -> str:
    """The router's network namespace on every node."""
    return HOST_NAMESPACE if in_host else f"wr-{router}"


def irb_device(key: SegmentKey) -> str:
    """The IRB's device in the router, with the node's own MAC."""
    return "wi" + _suffix(key)


def anycast_device(key: SegmentKey) -> str:
    """The device of the anycast MAC on top of the IRB's."""
    return "wg" + _suffix(key)


def l3_device(key: SegmentKey) -> str:
    """The vxlan device of a router's own VNI."""
    return "wx" + _suffix(key)


def _suffix(key: SegmentKey) -> str:
    return str(key.vni) if key.udp_port == UDP_PORT_VXLAN else f"{key.vni}.{key.udp_port:x}"
