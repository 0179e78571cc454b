"""Checks of ports: they stand on what is declared, and share no MAC, address or place with another.

Written for 100,000 ports: sets of integers, one pass, and no text is made before something is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.model.address import mac_to_int, parse_unicast_mac
from weft.model.errors import WeftError
from weft.model.intent import Intent
from weft.model.network import Network
from weft.model.port import NO_GATEWAY, AttachKind, Hosts, Port
from weft.model.router import Router
from weft.model.subnet import Span, number, span
from weft.model.validate.network import routers_in
from weft.model.validate.problem import (
    NAME_LAW,
    Path,
    Problem,
    device_problem,
    is_name,
    name_problem,
    suggestion,
)

Place = tuple[str, ...]
GUESSES = 50  # what was probably meant costs a look at every name: it is told for the first mistakes only


def port_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    routers = routers_in(intent)
    networks = {name: _Taken(network, routers.get(name, [])) for name, network in intent.networks.items()}
    found += [problem for taken in networks.values() for problem in taken.clashes]
    places: dict[Place, str] = {}
    for router in intent.routers.values():
        for side in router.external:
            places[side.node, "device", side.interface] = f"router '{router.name}'"
    for name, port in intent.ports.items():
        if not is_name(name):
            found += name_problem(("ports", name), "port", name)
        if port.node not in intent.nodes:
            found.append(_unknown(port, "node", port.node, intent.nodes if len(found) < GUESSES else ()))
        taken = networks.get(port.network)
        if taken is None:
            found.append(_unknown(port, "network", port.network, intent.networks if len(found) < GUESSES else ()))
        else:
            if port.mac:
                found += taken.mac(port)
            for index, ip in enumerate(port.ips):
                found += taken.ip(port, index, ip)
        found += _attach(port)
        if port.attach.gateway not in ("", NO_GATEWAY) and taken and not taken.holds(port.attach.gateway):
            what = f"port '{name}': gateway {port.attach.gateway} is outside network '{port.network}'"
            found.append(
                Problem(("ports", name, "attach", "gateway"), what, f"choose one of {', '.join(taken.subnets)}")
            )
        found += _hosts(port)
        found += _place(port, places)
    return found


def alone_problems(port: Port) -> list[Problem]:
    """What is wrong with a port whatever else there is; addresses are not looked at."""
    named = [] if is_name(port.name) else name_problem(("ports", port.name), "port", port.name)
    return [*named, *_attach(port), *_hosts(port)]


def _unknown(port: Port, kind: str, name: str, known: Iterable[str]) -> Problem:
    what = f"port '{port.name}': unknown {kind} '{name}'"
    return Problem(("ports", port.name, kind), what, suggestion(name, known, kind))


class _Taken:
    """The MACs and addresses of one network, and whose they are."""

    def __init__(self, network: Network, routers: list[Router]) -> None:
        self.name = network.name
        self.subnets = network.subnets
        self.spans: list[Span] = []
        self.macs: dict[int, str] = {}
        self.ips: dict[tuple[int, int], str] = {}
        self.clashes: list[Problem] = []
        for subnet in self.subnets:
            try:
                self.spans.append(span(subnet))
            except ValueError:
                continue
        for router in routers:
            for index, address in enumerate(router.gateways.get(self.name, ())):
                self._gateway(router.name, index, address)

    def _gateway(self, router: str, index: int, address: str) -> None:
        try:
            other = self.ips.setdefault(number(address), f"router '{router}'")
        except ValueError:
            return
        if other != f"router '{router}'":
            path: Path = ("routers", router, "gateways", self.name, index)
            what = f"router '{router}': gateway {address} belongs to {other} in network '{self.name}' already"
            self.clashes.append(Problem(path, what, "choose another address"))

    def holds(self, address: str) -> bool:
        try:
            value = number(address)
        except ValueError:
            return False
        return any(here.usable(value) for here in self.spans)

    def mac(self, port: Port) -> list[Problem]:
        path: Path = ("ports", port.name, "mac")
        try:
            value = mac_to_int(parse_unicast_mac(port.mac))
        except WeftError as error:
            return [Problem(path, f"port '{port.name}': {error.what}", error.remedy)]
        other = self.macs.setdefault(value, port.name)
        if other == port.name:
            return []
        what = f"port '{port.name}': MAC {port.mac} belongs to port '{other}' in network '{self.name}' already"
        return [Problem(path, what, "choose another, or leave `mac` out to get one assigned")]

    def ip(self, port: Port, index: int, ip: str) -> list[Problem]:
        try:
            value = number(ip)
        except ValueError:
            what, remedy = f"'{ip}' is not an IP address", "write it as 10.1.1.11 or 2001:db8::11"
            return [Problem(("ports", port.name, "ips", index), f"port '{port.name}': {what}", remedy)]
        for here in self.spans:
            if here.usable(value):
                break
        else:
            inside = any(here.holds(value) for here in self.spans)
            what = "is its subnet's network or broadcast address" if inside else f"is outside network '{self.name}'"
            remedy = "choose a host's address" if inside else f"choose one of {', '.join(self.subnets)}"
            return [Problem(("ports", port.name, "ips", index), f"port '{port.name}': {ip} {what}", remedy)]
        owner = self.ips.setdefault(value, port.name)
        if owner is port.name and port.ips.index(ip) == index:
            return []
        whose = owner if owner.startswith("router ") else f"port '{owner}'"
        what = f"port '{port.name}': {ip} belongs to {whose} in network '{self.name}' already"
        if owner == port.name:
            what = f"port '{port.name}': {ip} stands twice"
        remedy = "choose another, or leave `ips` out to get one assigned"
        return [Problem(("ports", port.name, "ips", index), what, remedy)]


def _attach(port: Port) -> list[Problem]:
    attach = port.attach
    if attach.kind is AttachKind.HOST:
        return []
    path: Path = ("ports", port.name, "attach")
    if attach.kind is AttachKind.NAMESPACE:
        found = []
        if not is_name(attach.target):
            what = f"port '{port.name}': {attach.target!r} is not a namespace's name"
            found.append(Problem(path, what, f"namespaces are {NAME_LAW}"))
        elif attach.target.startswith("wr-"):
            what = f"port '{port.name}': '{attach.target}' is what Weft calls a router's namespace"
            found.append(Problem(path, what, "choose a name that does not begin with wr-"))
        found += device_problem((*path, "interface"), f"port '{port.name}'", attach.interface, inside=True)
        return found
    return device_problem((*path, attach.kind), f"port '{port.name}'", attach.target)


def _hosts(port: Port) -> list[Problem]:
    """Where hosts are learned the port is no host itself, and it leads to a device that others stand behind."""
    if port.hosts is Hosts.DECLARED:
        return []
    if port.attach.kind not in (AttachKind.TAP, AttachKind.INTERFACE):
        what = f"port '{port.name}': `hosts: learned` needs a device with hosts behind it"
        return [Problem(("ports", port.name, "hosts"), what, "attach a tap or an interface, or leave `hosts` out")]
    for key, said in (("mac", port.mac), ("ips", port.ips), ("mobile", port.mobile)):
        if said:
            what = f"port '{port.name}': `{key}` says who is behind it, `hosts: learned` that nobody knows"
            return [Problem(("ports", port.name, key), what, f"leave out `{key}` or `hosts`")]
    return []


def place_of(port: Port) -> Place:
    """Where it is attached, which no other port may be."""
    attach = port.attach
    if attach.kind is AttachKind.HOST:
        return (port.node, "host", port.network)
    if attach.kind is AttachKind.NAMESPACE:
        return (port.node, "namespace", attach.target, attach.interface)
    return (port.node, "device", attach.target)


def _place(port: Port, places: dict[Place, str]) -> list[Problem]:
    """A TAP and an interface are both devices of the host, so one name is one place; a host port's is its network."""
    attach = port.attach
    place = place_of(port)
    other = places.setdefault(place, port.name)
    if other is port.name:
        return []
    whose = other if other.startswith("router ") else f"port '{other}'"
    shown = {
        AttachKind.HOST: f"the host itself in network '{port.network}'",
        AttachKind.NAMESPACE: f"{attach.interface} in namespace '{attach.target}'",
    }.get(attach.kind, f"device '{attach.target}'")
    what = f"port '{port.name}': {shown} on node '{port.node}' belongs to {whose} already"
    return [Problem(("ports", port.name, "attach"), what, "attach it elsewhere")]
