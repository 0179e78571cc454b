"""What the names in steps and patterns mean: ports, nodes, underlay routers → namespaces, addresses, MACs. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from weft.compile.macs import anycast_mac, irb_mac, router_mac
from weft.lab.topology import Machine, Topology, container_name
from weft.model.address import is_ipv6, parse_ip
from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent
from weft.model.port import AttachKind


@dataclass(frozen=True, slots=True)
class EndPoint:
    """Where a probe starts or ends: a namespace and the addresses it has there."""

    name: str
    netns: str
    addresses: tuple[str, ...]

    def address(self, like: str) -> str:
        """Its first address of the family of `like`; raises INVALID where it has none."""
        for address in self.addresses:
            if is_ipv6(address) == is_ipv6(like):
                return address
        family = "IPv6" if is_ipv6(like) else "IPv4"
        raise WeftError(Kind.INVALID, f"has no {family} address", where=self.name)


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one lab."""

    intent: Intent
    topology: Topology

    def netns(self, name: str) -> str:
        """The namespace behind a host, router, container, external host or port; raises NOT_FOUND."""
        port = self.intent.ports.get(name)
        return self.topology.machine(self.machine_of_port(name) if port else name).netns

    def end_point(self, name: str) -> EndPoint:
        """What a probe can start from."""
        if port := self.intent.ports.get(name):
            return EndPoint(name, self.netns(name), port.ips)
        machine = self.topology.machine(name)
        addresses = [link.address for link in machine.links]
        addresses += [ip for wire in self.topology.wires if wire.machine == name for ip in wire.addresses]
        return EndPoint(name, machine.netns, tuple(address.partition("/")[0] for address in addresses))

    def target(self, name: str) -> tuple[str, ...]:
        """The addresses that a probe may aim at: a name's, or the address itself."""
        try:
            return (parse_ip(name),)
        except WeftError:
            addresses = self.end_point(name).addresses
        if not addresses:
            raise WeftError(Kind.INVALID, "has no address to send to", where=name)
        return addresses

    def owner(self, name: str) -> EndPoint:
        """Who has this name, or this address: of several ports with one address, the first. Raises NOT_FOUND."""
        try:
            address = parse_ip(name)
        except WeftError:
            return self.end_point(name)
        candidates = (*self.intent.ports, *(machine.name for machine in self.topology.machines))
        for candidate in candidates:
            end = self.end_point(candidate)
            if address in end.addresses:
                return end
        raise WeftError(Kind.NOT_FOUND, f"nobody in this lab has {address}", remedy="name a port")

    def outer(self, name: str) -> frozenset[str]:
        """Addresses of a node, an underlay router, or the address itself."""
        if node := self.intent.nodes.get(name):
            return frozenset({node.vtep})
        if machine := self._machine(name):
            return frozenset(link.address.partition("/")[0] for link in machine.links)
        return frozenset({_address(name, "node, underlay router")})

    def inner(self, name: str) -> frozenset[str]:
        """Addresses of a port, or the address itself."""
        if port := self.intent.ports.get(name):
            return frozenset(port.ips)
        return frozenset({_address(name, "port")})

    def underlay_macs(self, name: str) -> frozenset[str]:
        """MACs on the underlay of a node, a router (`node:` may stand before), or the MAC itself."""
        machine = self._machine(name.removeprefix("node:"))
        return frozenset(link.mac for link in machine.links) if machine else frozenset({name.lower()})

    def port_mac(self, name: str) -> str:
        """`port:NAME`, `gateway:ROUTER/NETWORK` (as ports know it), `irb:ROUTER/NETWORK/NODE` (as tunnels see it) and
        `router:ROUTER/NODE` (in the L3 VNI) → the MAC; anything else is a MAC itself."""
        kind, _, rest = name.partition(":")
        if kind in ("gateway", "irb", "router"):
            return self._router_mac(kind, rest.split("/"))
        if kind != "port":
            return name.lower()
        port = self.intent.ports.get(name.removeprefix("port:"))
        if port is None:
            raise WeftError(Kind.INVALID, f"unknown port '{name.removeprefix('port:')}'")
        return port.mac

    def _router_mac(self, kind: str, words: list[str]) -> str:
        router = self.intent.routers[words[0]]
        if kind == "router":
            return router_mac(router.name, words[1])
        key = self.intent.networks[words[1]].key
        if router.placement:
            return irb_mac(router.name, key)
        return anycast_mac(router.name, key) if kind == "gateway" else irb_mac(router.name, key, words[2])

    @property
    def vxlan_ports(self) -> frozenset[int]:
        return frozenset(network.udp_port for network in self.intent.networks.values())

    def _machine(self, name: str) -> Machine | None:
        return next((machine for machine in self.topology.machines if machine.name == name), None)

    def machine_of_port(self, name: str) -> str:
        """The machine that has the port's addresses."""
        port = self.intent.ports[name]
        if port.attach.kind in (AttachKind.NAMESPACE, AttachKind.INTERFACE):
            return container_name(port.node, port.attach.target)
        return port.node


def _address(text: str, kinds: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise WeftError(Kind.INVALID, f"'{text}' is no {kinds} or IP address of this lab") from None
