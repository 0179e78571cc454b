"""What a lab is made of, as values: LabSpec + Intent → LANs, machines, wires. Pure; `build` makes it true.

    host h1 ── eth1 ═ port "h1" ─┐                        every machine is a network namespace
    host h2 ── eth1 ═ port "h2" ─┤ bridge br-left         all bridges stand in ONE namespace, the fabric
    router r1 ─ eth1 ═ port "r1.left" ─┘                  ═ is a veth pair

Names of namespaces: `weft-<lab>-<machine>`; a container is the machine `<host>.<namespace>`, the fabric is `fabric`.
Names of devices in the fabric: a LAN's bridge is `br-<segment>`, the port towards a host is `<host>`, the port towards
a router `<router>.<segment>`. What would be longer than 15 octets, or is taken already, becomes its own first ten
octets, a `~` and four hex digits of the SHA-256 of the full name.
Inside: a host's underlay device is `eth1`, a router's are `eth1`, `eth2`… in the order of its segments, the device of
an external host, or of a machine behind an `interface` port, is `eth0`.

MAC addresses hash the lab's, the machine's and the segment's name, so that a lab looks alike each time it is up.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from weft.lab.underlay import derived_segments, overlapping, router_addresses
from weft.model.address import is_ipv6
from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent
from weft.model.lab import UNDERLAY_DEVICE, LabSpec, UnderlayRouter, UnderlaySegment
from weft.model.node import DatapathKind, Node
from weft.model.port import AttachKind
from weft.plan.router import namespace_of

DEVICE_MAX = 15  # IFNAMSIZ less the closing zero
FABRIC = "fabric"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class Lan(msgspec.Struct, frozen=True, kw_only=True):
    """One bridge of the fabric."""

    segment: str
    bridge: str
    subnet: str
    mtu: int


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's device on a LAN: `port` is its other end in the fabric; `address` has a prefix length."""

    segment: str
    port: str
    device: str
    mac: str
    mtu: int
    address: str


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A network namespace. `kind`: host, router, container, external. `routes`: destination → next hop.

    `datapath`: how a host forwards.
    """

    name: str
    kind: str
    netns: str
    links: tuple[Link, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    datapath: DatapathKind = DatapathKind.KERNEL


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """A veth pair past the fabric: `interface` in host `node` to `device` in `machine`, which has the addresses."""

    node: str
    interface: str
    machine: str
    device: str
    mac: str
    addresses: tuple[str, ...]


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `build` makes. `gateways`: namespaces of routers, which the agents make when they need them."""

    lab: str
    fabric: str
    lans: tuple[Lan, ...]
    machines: tuple[Machine, ...]
    wires: tuple[Wire, ...] = ()
    gateways: tuple[Machine, ...] = ()

    def machine(self, name: str) -> Machine:
        for machine in (*self.machines, *self.gateways):
            if machine.name == name:
                return machine
        known = ", ".join(machine.name for machine in self.machines)
        raise WeftError(Kind.NOT_FOUND, f"lab {self.lab} has no machine '{name}'", remedy=f"it has {known}")

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All that may stand while the lab is up."""
        return (*self.built, *(gateway.netns for gateway in self.gateways))

    @property
    def built(self) -> tuple[str, ...]:
        return (self.fabric, *(machine.netns for machine in self.machines))

    @property
    def hosts(self) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine.kind == "host")


def plan(lab: str, spec: LabSpec, intent: Intent) -> Topology:
    """The topology of lab `lab`; raises INVALID where the file's underlay cannot be built, naming the object."""
    _check_names(lab, spec, intent)
    segments = spec.segments or derived_segments(node.vtep for node in intent.nodes.values())
    overlapping(segments)
    by_name = {segment.name: segment for segment in segments}
    namer = _Names()
    lans = tuple(Lan(segment=s.name, bridge=namer.device(f"br-{s.name}"), subnet=s.subnet, mtu=s.mtu) for s in segments)
    gateways = router_addresses(segments, spec.routers, {node.vtep for node in intent.nodes.values()})
    hosts = [_host(lab, node, by_name, gateways, namer) for _, node in sorted(intent.nodes.items())]
    routers = [_router(lab, router, spec.routers, by_name, gateways, namer) for router in spec.routers]
    wires, behind = _wires(lab, spec, intent)
    machines = (*hosts, *routers, *_containers(lab, intent), *behind)
    _unique(machines)
    return Topology(
        lab=lab,
        fabric=netns_of(lab, FABRIC),
        lans=lans,
        machines=machines,
        wires=wires,
        gateways=tuple(_gateways(lab, intent)),
    )


def describe(topology: Topology) -> str:
    """The topology as text, a line an object, as a person would check it."""
    lines = [f"fabric {topology.fabric}"]
    lines += [f"  lan {lan.segment}: {lan.bridge} {lan.subnet} mtu {lan.mtu}" for lan in topology.lans]
    for machine in topology.machines:
        lines.append(f"{machine.kind} {machine.name} {machine.netns}")
        lines += [f"  {k.device} {k.address} mtu {k.mtu} on {k.segment} port {k.port}" for k in machine.links]
        lines += [f"  route {to} via {via}" for to, via in machine.routes]
    for wire in topology.wires:
        addresses = " ".join(wire.addresses) or "-"
        lines.append(f"wire {wire.node}:{wire.interface} to {wire.machine}:{wire.device} {addresses}")
    return "\n".join(lines) + "\n"


def _gateways(lab: str, intent: Intent) -> Iterator[Machine]:
    for router in sorted(intent.routers.values(), key=lambda router: router.name):
        if router.in_host:
            continue
        for node in router.placement or sorted(intent.nodes):
            name = container_name(node, namespace_of(router.name))
            yield Machine(name=name, kind="gateway", netns=netns_of(lab, name))


def container_name(host: str, namespace: str) -> str:
    return f"{host}.{namespace}"


def underlay_mac(lab: str, machine: str, device: str) -> str:
    """A locally administered unicast address, the same each time."""
    digest = hashlib.sha256(f"{lab}/{machine}/{device}".encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x06, *digest[:5]))


class _Names:
    """Claims device names of the fabric after the law in the module's head."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def device(self, full: str) -> str:
        name = full
        if len(full.encode()) > DEVICE_MAX or full in self._taken:
            name = f"{full[:10]}~{hashlib.sha256(full.encode()).hexdigest()[:4]}"
        if name in self._taken:
            raise WeftError(
                Kind.INVALID, f"'{full}' gets the device name {name}, which is taken", remedy="choose another name"
            )
        self._taken.add(name)
        return name


def netns_of(lab: str, machine: str) -> str:
    """The namespace of a machine."""
    return f"weft-{lab}-{machine}"


def _host(
    lab: str,
    node: Node,
    segments: Mapping[str, UnderlaySegment],
    gateways: Mapping[str, Mapping[str, str]],
    namer: _Names,
) -> Machine:
    name, vtep = node.name, node.vtep
    segment = _segment_of(name, vtep, segments.values())
    link = Link(
        segment=segment.name,
        port=namer.device(name),
        device=UNDERLAY_DEVICE,
        mac=underlay_mac(lab, name, segment.name),
        mtu=segment.mtu,
        address=f"{vtep}/{ipaddress.ip_network(segment.subnet).prefixlen}",
    )
    routes = [(_default(vtep), via) for via in list(gateways[segment.name].values())[:1]]
    netns = netns_of(lab, name)
    return Machine(name=name, kind="host", netns=netns, links=(link,), routes=tuple(routes), datapath=node.datapath)


def _segment_of(name: str, vtep: str, segments: Iterable[UnderlaySegment]) -> UnderlaySegment:
    address = ipaddress.ip_address(vtep)
    for segment in segments:
        if address in ipaddress.ip_network(segment.subnet):
            return segment
    raise WeftError(
        Kind.INVALID,
        f"no underlay segment holds {vtep}",
        where=f"node {name}",
        remedy="add a segment with its subnet under lab.underlay.segments",
    )


def _router(
    lab: str,
    router: UnderlayRouter,
    routers: Sequence[UnderlayRouter],
    segments: Mapping[str, UnderlaySegment],
    gateways: Mapping[str, Mapping[str, str]],
    namer: _Names,
) -> Machine:
    links = []
    for number, name in enumerate(router.segments, 1):
        segment = segments[name]
        prefix = ipaddress.ip_network(segment.subnet).prefixlen
        links.append(
            Link(
                segment=name,
                port=namer.device(f"{router.name}.{name}"),
                device=f"eth{number}",
                mac=underlay_mac(lab, router.name, name),
                mtu=router.mtu or segment.mtu,
                address=f"{gateways[name][router.name]}/{prefix}",
            )
        )
    return Machine(
        name=router.name,
        kind="router",
        netns=netns_of(lab, router.name),
        links=tuple(links),
        routes=_routes(router, routers, segments, gateways),
    )


def _routes(
    start: UnderlayRouter,
    routers: Sequence[UnderlayRouter],
    segments: Mapping[str, UnderlaySegment],
    gateways: Mapping[str, Mapping[str, str]],
) -> tuple[tuple[str, str], ...]:
    """Shortest ways to every segment that `start` is not on, breadth first; declaration order breaks ties."""
    first_hop: dict[str, str | None] = dict.fromkeys(start.segments)  # segment → next hop, None: on link
    reached = {start.name}
    queue: deque[tuple[str, str | None]] = deque((name, None) for name in start.segments)
    while queue:
        here, via = queue.popleft()
        for router in routers:
            if router.name in reached or here not in router.segments:
                continue
            reached.add(router.name)
            hop = via or gateways[here][router.name]
            for name in router.segments:
                if name not in first_hop:
                    first_hop[name] = hop
                    queue.append((name, hop))
    usable = {name: hop for name, hop in first_hop.items() if hop and is_ipv6(hop) == is_ipv6(segments[name].subnet)}
    return tuple((segments[name].subnet, hop) for name, hop in usable.items())


def _containers(lab: str, intent: Intent) -> list[Machine]:
    names = {
        container_name(port.node, port.attach.target)
        for port in intent.ports.values()
        if port.attach.kind is AttachKind.NAMESPACE
    }
    return [Machine(name=name, kind="container", netns=netns_of(lab, name)) for name in sorted(names)]


def _wires(lab: str, spec: LabSpec, intent: Intent) -> tuple[tuple[Wire, ...], tuple[Machine, ...]]:
    """External hosts, and a machine behind each port that is a device of its host."""
    wires: list[Wire] = []
    machines: list[Machine] = []
    for external in spec.externals:
        gateway = _border_address(intent, external.node, external.interface) or _bridge_address(spec, external.node)
        routes = ((_default(gateway), gateway),) if gateway else ()
        machines.append(Machine(name=external.name, kind="external", netns=netns_of(lab, external.name), routes=routes))
        wires.append(_wire(lab, external.node, external.interface, external.name, "", (external.address,)))
    for port in sorted(intent.ports.values(), key=lambda port: port.name):
        if port.attach.kind is not AttachKind.INTERFACE:
            continue
        name = container_name(port.node, port.attach.target)
        subnets = [ipaddress.ip_network(subnet) for subnet in intent.networks[port.network].subnets]
        addresses = tuple(
            f"{ip}/{subnet.prefixlen}" for ip in port.ips for subnet in subnets if ipaddress.ip_address(ip) in subnet
        )
        machines.append(Machine(name=name, kind="container", netns=netns_of(lab, name)))
        wires.append(_wire(lab, port.node, port.attach.target, name, port.mac, addresses))
    return tuple(wires), tuple(machines)


def _wire(lab: str, node: str, interface: str, machine: str, mac: str, addresses: tuple[str, ...]) -> Wire:
    return Wire(
        node=node,
        interface=interface,
        machine=machine,
        device="eth0",
        mac=mac or underlay_mac(lab, machine, "eth0"),
        addresses=addresses,
    )


def _border_address(intent: Intent, node: str, interface: str) -> str | None:
    for router in intent.routers.values():
        for external in router.external:
            if (external.node, external.interface) == (node, interface):
                return external.address.partition("/")[0]
    return None


def _bridge_address(spec: LabSpec, node: str) -> str | None:
    """Where a node of a flannel network has the bridge of its containers."""
    subnet = spec.flannel.subnets.get(node) if spec.flannel else None
    return str(ipaddress.ip_network(subnet).network_address + 1) if subnet else None


def _default(address: str) -> str:
    return "::/0" if is_ipv6(address) else "0.0.0.0/0"


def _check_names(lab: str, spec: LabSpec, intent: Intent) -> None:
    names = [lab, *intent.nodes, *(r.name for r in spec.routers), *(e.name for e in spec.externals)]
    names += [port.attach.target for port in intent.ports.values() if port.attach.target]
    for name in names:
        if not _NAME.fullmatch(name):
            raise WeftError(
                Kind.INVALID, f"'{name}' cannot name a namespace", remedy="use letters, digits, '-', '_' and '.'"
            )
    for external in spec.externals:
        if external.node not in intent.nodes:
            raise WeftError(Kind.INVALID, f"unknown node '{external.node}'", where=f"external host {external.name}")
    segments = {segment.name for segment in spec.segments}
    for router in spec.routers:
        for name in router.segments:
            if name not in segments:
                raise WeftError(Kind.INVALID, f"unknown underlay segment '{name}'", where=f"router {router.name}")


def _unique(machines: Sequence[Machine]) -> None:
    seen = {FABRIC}
    for machine in machines:
        if machine.name in seen:
            raise WeftError(
                Kind.INVALID,
                f"the machine name '{machine.name}' is taken",
                remedy="hosts, routers, external hosts, `host.namespace` and `fabric` share one set of names",
            )
        seen.add(machine.name)
