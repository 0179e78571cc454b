"""The shapes of intent in the file: nodes, networks, routers, ports. docs/file.md is their reference for people.

A shape converts text and knows defaults; it does not judge what it says: that is weft.model.validate's part, which
also sees what is stored already. `value(name)` makes the model's value.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from weft.model.address import MTU_MAX, MTU_MIN, VNI_MAX, VNI_MIN, is_ipv6, parse_ip
from weft.model.errors import WeftError
from weft.model.network import AGE_MAX, DEFAULT_ARP, PREFIX_LENGTH, Arp, FloodMode, Learning, Network, Routed
from weft.model.node import DatapathKind, Node
from weft.model.port import NO_GATEWAY, Attach, AttachKind, Hosts, Port
from weft.model.router import DISTRIBUTED, HOST, External, Policy, Route, Router
from weft.model.scalar import (
    Ip,
    Shape,
    Subnet,
    Switch,
    Text,
    UnicastMac,
    Whole,
    WholeSeconds,
    listed,
    one_of,
    plain,
    wrong,
)

UNREAD_ATTACH = ("vlan", "mac", "macvlan", "ipvlan")  # words of the design that this version cannot attach by
_ATTACHABLE = "attach by host, namespace, tap or interface"


def _words(known: list[str]) -> BeforeValidator:
    return BeforeValidator(lambda value: one_of(plain(value), known), json_schema_input_type=Literal[tuple(known)])


Ips = Annotated[tuple[Ip, ...], BeforeValidator(listed, json_schema_input_type=Ip | list[Ip])]
Subnets = Annotated[tuple[Subnet, ...], BeforeValidator(listed, json_schema_input_type=Subnet | list[Subnet])]


class NodeShape(Shape):
    """A host that takes part: one VTEP."""

    vtep: Ip = Field(description="Its address on the underlay, IPv4 or IPv6.", examples=["192.168.33.12"])
    datapath: Annotated[str, _words([*DatapathKind])] = Field("kernel", description="How it forwards.")

    def value(self, name: str) -> Node:
        return Node(name=name, vtep=self.vtep, datapath=DatapathKind(self.datapath))


class GroupShape(Shape):
    """Flooding to a multicast group of the underlay."""

    group: Ip = Field(description="The underlay multicast group.", examples=["239.1.1.1", "ff05::1:1"])


def _flood(value: Any) -> Any:
    if isinstance(value, dict):
        return GroupShape.model_validate(value)
    word = plain(value)
    if word == FloodMode.GROUP:
        raise wrong("`group` needs its address", "write it as {group: 239.1.1.1}")
    known = [FloodMode.INGRESS_REPLICATION, FloodMode.NONE]
    if word not in known:
        raise wrong(f"'{word}' is none of its values", "write ingress-replication, none or {group: 239.1.1.1}")
    return word


def _some(nodes: tuple[str, ...]) -> tuple[str, ...]:
    if not nodes:
        raise wrong("[] is no node at all", "list some, or leave `nodes` out, which means every node")
    return nodes


class RoutedShape(Shape):
    """A prefix for every node instead of a layer-2 segment."""

    prefix_length: Whole | None = Field(
        None,
        description="Length of a node's prefix. Left out: 24, or 64 in an IPv6 subnet.",
        json_schema_extra={"minimum": 1, "maximum": 126},
    )
    nodes: Annotated[tuple[Text, ...], AfterValidator(_some)] = Field(
        (), description="The nodes that take part. Left out: every node.", json_schema_extra={"minItems": 1}
    )
    prefixes: dict[str, Subnet] = Field(
        default={}, description="Node → its prefix. Nodes left out are assigned one, which they keep."
    )

    def value(self, subnets: tuple[str, ...]) -> Routed:
        length = PREFIX_LENGTH[6 if any(map(is_ipv6, subnets)) else 4]
        return Routed(
            prefix_length=length if self.prefix_length is None else self.prefix_length,
            nodes=self.nodes,
            prefixes=self.prefixes,
        )


_LAYER_2 = ("learning", "flood", "arp", "age")  # keys that say nothing of a routed network


class NetworkShape(Shape):
    """One VNI's layer-2 segment across the fleet."""

    vni: Whole = Field(
        description="VXLAN network identifier; unique per UDP port.",
        json_schema_extra={"minimum": VNI_MIN, "maximum": VNI_MAX},
        examples=[5000],
    )
    subnet: Subnet | None = Field(None, description="Its subnet.")
    subnets: Subnets = Field((), description="Its subnets, where there are several (IPv4 and IPv6, for one).")
    learning: Annotated[str, _words([*Learning])] = Field(
        "control-plane", description="Where MAC tables come from: declared endpoints, or frames seen by the VTEPs."
    )
    flood: Annotated[
        GroupShape | str,
        PlainValidator(_flood, json_schema_input_type=Literal["ingress-replication", "none"] | GroupShape),
    ] = Field("ingress-replication", description="How broadcast, unknown unicast and multicast reach other VTEPs.")
    arp: Annotated[str, _words([*Arp])] | None = Field(
        None,
        description="Who answers ARP and ND: the VTEP (suppress), the local gateway (proxy), or the target itself "
        "(flood). Left out: suppress with learning control-plane, flood with data-plane.",
    )
    mtu: Whole | None = Field(
        None,
        description="Largest IP packet in octets. Left out: what the underlay carries less 50 (70 over IPv6).",
        json_schema_extra={"minimum": MTU_MIN, "maximum": MTU_MAX},
    )
    udp_port: Whole = Field(
        4789, description="UDP destination port.", json_schema_extra={"minimum": 1, "maximum": 65535}
    )
    age: WholeSeconds = Field(
        300,
        description="Seconds that a learned MAC lives.",
        json_schema_extra={"minimum": 1, "maximum": AGE_MAX},
        examples=[300, "5m"],
    )
    routed: Annotated[
        RoutedShape | None,
        BeforeValidator(lambda value: {} if value is None else value, json_schema_input_type=RoutedShape | None),
    ] = Field(None, description="No layer 2: every node has a prefix of the subnet, and routes to those of the others.")

    @model_validator(mode="after")
    def _no_layer_2(self) -> NetworkShape:
        if self.routed is not None and (told := [key for key in _LAYER_2 if key in self.model_fields_set]):
            raise wrong(f"`{told[0]}` does not go with `routed`: it has no layer 2", f"leave out `{told[0]}`")
        return self

    @model_validator(mode="after")
    def _one_spelling(self) -> NetworkShape:
        if self.subnet is not None and self.subnets:
            raise wrong("has both `subnet` and `subnets`", "keep one of them")
        if self.subnet is None and not self.subnets:
            raise wrong("needs a subnet", "write subnet: 10.1.1.0/24")
        return self

    def value(self, name: str) -> Network:
        subnets = self.subnets if self.subnet is None else (self.subnet,)
        learning, group = Learning(self.learning), self.flood.group if isinstance(self.flood, GroupShape) else None
        return Network(
            name=name,
            vni=self.vni,
            subnets=subnets,
            learning=learning,
            flood=FloodMode.GROUP if isinstance(self.flood, GroupShape) else FloodMode(self.flood),
            group=group,
            arp=DEFAULT_ARP[learning] if self.arp is None else Arp(self.arp),
            mtu=self.mtu,
            udp_port=self.udp_port,
            age=self.age,
            routed=self.routed.value(subnets) if self.routed else None,
        )


class RouteShape(Shape):
    """A static route."""

    to: Subnet = Field(description="Destination.", examples=["50.1.1.0/24", "0.0.0.0/0"])
    via: Ips = Field(description="Next hop; several share the traffic (ECMP).")

    def value(self) -> Route:
        return Route(to=self.to, via=self.via)


class PolicyShape(Shape):
    """A policy route: what matches leaves by `via`."""

    via: Ips = Field(description="Next hop; several share the traffic (ECMP).")
    source: Subnet | None = Field(None, alias="from", description="Source subnet.")
    to: Subnet | None = Field(None, description="Destination subnet.")
    protocol: Annotated[str, _words(["tcp", "udp", "icmp", "icmpv6"])] | None = Field(None, description="IP protocol.")
    ports: Annotated[tuple[Whole, ...], BeforeValidator(listed, json_schema_input_type=int | list[int])] = Field(
        (), description="Destination ports, with protocol tcp or udp."
    )

    def value(self) -> Policy:
        return Policy(via=self.via, source=self.source, to=self.to, protocol=self.protocol, ports=self.ports)


def interface_address(value: object) -> str:
    """An address with its prefix length, host bits and all, in canonical text."""
    text = plain(value)
    try:
        if "/" not in text:
            raise ValueError
        return str(ipaddress.ip_interface(text))
    except ValueError:
        raise wrong(f"'{text}' is not an address with prefix length", "write it as 50.1.1.254/24") from None


InterfaceAddress = Annotated[str, BeforeValidator(interface_address, json_schema_input_type=str)]


class ExternalShape(Shape):
    """A border's outside on one node."""

    interface: Text = Field(description="The device that leads out.")
    address: InterfaceAddress = Field(description="The router's address on it.", examples=["50.1.1.254/24"])
    nat: Annotated[str, _words(["masquerade"])] | None = Field(None, description="Source NAT on the way out.")
    static: dict[str, Ip] = Field(default={}, description="Inside → outside address, translated one to one both ways.")

    def value(self, node: str) -> External:
        static = tuple(sorted(self.static.items()))
        return External(node=node, interface=self.interface, address=self.address, nat=self.nat, static=static)


def _placement(value: Any) -> Any:
    if value == []:
        raise wrong("[] is not a placement", "write distributed, or a list of nodes")
    if not isinstance(value, str):
        return value
    if value.strip() != DISTRIBUTED:
        raise wrong(f"'{value}' is not a placement", f"write distributed, or a list of nodes: [{value}]")
    return []


class RouterShape(Shape):
    """Gateways of networks in one routing table of their own."""

    gateways: dict[str, Ips] = Field(description="Network → the router's address (or addresses) in it.")
    vni: Whole | None = Field(
        None,
        description="L3 VNI, for symmetric IRB; left out: asymmetric.",
        json_schema_extra={"minimum": VNI_MIN, "maximum": VNI_MAX},
    )
    placement: Annotated[
        tuple[Text, ...], BeforeValidator(_placement, json_schema_input_type=Literal["distributed"] | list[str])
    ] = Field((), description="On every node, or on the listed ones: the first alive holds it.")
    routes: tuple[RouteShape, ...] = Field((), description="Static routes.")
    policies: tuple[PolicyShape, ...] = Field((), description="Policy routes, the first that matches counts.")
    external: dict[str, ExternalShape] = Field(default={}, description="Node → the outside there: makes it a border.")
    advertise: Switch = Field(False, description="Router advertisements: IPv6 hosts configure themselves.")
    namespace: Annotated[str, _words([HOST])] | None = Field(
        None, description="host: it routes in the node's own network stack; left out: a namespace of its own."
    )

    def value(self, name: str) -> Router:
        return Router(
            name=name,
            gateways=self.gateways,
            vni=self.vni,
            placement=self.placement,
            routes=tuple(route.value() for route in self.routes),
            policies=tuple(policy.value() for policy in self.policies),
            external=tuple(outside.value(node) for node, outside in self.external.items()),
            advertise=self.advertise,
            namespace=self.namespace,
        )


def _gateway(value: object) -> str:
    text = plain(value)
    try:
        return text if text == NO_GATEWAY else parse_ip(text)
    except WeftError as error:
        raise wrong(error.what, f"{error.remedy}, or none") from None


class AttachShape(Shape):
    """What stands behind a port: one of namespace, tap, interface; beside `namespace`, `interface` is inside."""

    namespace: Text | None = Field(None, description="A network namespace (a container), by a veth pair.")
    tap: Text | None = Field(None, description="A TAP device (a virtual machine).")
    interface: Text | None = Field(
        None, description="A device of the host that is there already; beside namespace: the device inside (eth0)."
    )

    gateway: Annotated[str, BeforeValidator(_gateway, json_schema_input_type=str)] = Field(
        "", description="Beside namespace: where its default route leads, or none; left out: the network's gateway."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> AttachShape:
        if (self.namespace is None) == (self.tap is None) and (self.tap is not None or self.interface is None):
            raise wrong("does not say one way to attach", _ATTACHABLE)
        if self.tap is not None and self.interface is not None:
            raise wrong("has both `tap` and `interface`", "keep one of them")
        if self.gateway and self.namespace is None:
            raise wrong("has a `gateway`, which only a namespace can be given", "remove it")
        return self

    def value(self) -> Attach:
        if self.namespace is not None:
            inside = self.interface or "eth0"
            return Attach(kind=AttachKind.NAMESPACE, target=self.namespace, interface=inside, gateway=self.gateway)
        if self.tap is not None:
            return Attach(kind=AttachKind.TAP, target=self.tap)
        return Attach(kind=AttachKind.INTERFACE, target=self.interface or "")


def _attach(value: Any) -> Any:
    words = list(value) if isinstance(value, dict) else [plain(value)]
    for word in words:
        if word in UNREAD_ATTACH:
            raise wrong(f"this version cannot attach by `{word}` yet", _ATTACHABLE)
    if isinstance(value, dict):
        return AttachShape.model_validate(value)
    if words[0] in {AttachKind.TAP, AttachKind.INTERFACE}:
        raise wrong(f"`{words[0]}` needs a name", f"write it as {{{words[0]}: NAME}}")
    if words[0] not in {AttachKind.HOST, AttachKind.NAMESPACE}:
        raise wrong(f"'{words[0]}' is no way to attach", _ATTACHABLE)
    return words[0]


class PortShape(Shape):
    """Where something is attached to a network, on one node."""

    network: Text = Field(description="The network it is in.")
    node: Text = Field(description="The node it is on.")
    attach: Annotated[
        AttachShape | str, PlainValidator(_attach, json_schema_input_type=Literal["host", "namespace"] | AttachShape)
    ] = Field("namespace", description="What stands behind it; left out: a namespace with the port's name.")
    mac: UnicastMac | None = Field(None, description="Its MAC address; left out: assigned.")
    ips: Ips = Field((), description="Its addresses; left out: the lowest free one of each subnet.")
    mobile: Switch = Field(False, description="A newer sighting on another node beats this declaration.")
    hosts: Annotated[Hosts, _words([*Hosts])] = Field(
        Hosts.DECLARED, description="learned: whoever shows up behind it; it has no MAC and no addresses of its own."
    )

    def value(self, name: str) -> Port:
        if isinstance(self.attach, AttachShape):
            attach = self.attach.value()
        elif self.attach == AttachKind.HOST:
            attach = Attach(kind=AttachKind.HOST)
        else:
            attach = Attach(kind=AttachKind.NAMESPACE, target=name)
        return Port(
            name=name,
            network=self.network,
            node=self.node,
            attach=attach,
            mac=self.mac or "",
            ips=self.ips,
            mobile=self.mobile,
            hosts=self.hosts,
        )
