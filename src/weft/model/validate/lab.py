"""Checks of a lab: an underlay that can carry its VTEPs, and steps and mutations that name what is there."""

from __future__ import annotations

import ipaddress

from weft.model.address import MTU_MAX, MTU_MIN
from weft.model.intent import Intent
from weft.model.lab import UNDERLAY_DEVICE, LabSpec
from weft.model.port import AttachKind
from weft.model.subnet import Span, number, span
from weft.model.validate.expect import Names, mutation_problems, step_problems
from weft.model.validate.problem import Path, Problem, device_problem, name_problem, suggestion

_UNDERLAY: Path = ("lab", "underlay")


def lab_problems(lab: LabSpec, intent: Intent) -> list[Problem]:
    """All that is wrong with the lab parts of a file; `intent` is what its names refer to."""
    names = Names(intent, lab)
    return [
        *_segments(lab, intent),
        *_routers(lab, intent),
        *_externals(lab, intent),
        *_flannel(lab, intent),
        *step_problems(lab, names),
        *mutation_problems(lab, names),
    ]


def build_problems(lab: LabSpec, intent: Intent) -> list[Problem]:
    """What stands in the way of building this as a lab, and real hosts may well have."""
    found = _machine_names(lab, intent)
    for name, port in intent.ports.items():
        if port.attach.kind is AttachKind.INTERFACE and port.attach.target == UNDERLAY_DEVICE:
            found.append(_underlays(("ports", name, "attach"), f"port '{name}'", port.node))
    for name, router in intent.routers.items():
        for side in router.external:
            if side.interface == UNDERLAY_DEVICE:
                path: Path = ("routers", name, "external", side.node, "interface")
                found.append(_underlays(path, f"router '{name}'", side.node))
    return found


def _machine_names(lab: LabSpec, intent: Intent) -> list[Problem]:
    """Machines share one set of names: the fabric and containers (`host.namespace`) with all others."""
    taken = {"fabric": "the lab's fabric"}
    for name, port in intent.ports.items():
        if port.attach.kind in (AttachKind.NAMESPACE, AttachKind.INTERFACE):
            taken[f"{port.node}.{port.attach.target}"] = f"what stands behind port '{name}'"
    named: list[tuple[Path, str, str]] = [(("nodes", name), "node", name) for name in intent.nodes]
    named += [((*_UNDERLAY, "routers", each.name), "underlay router", each.name) for each in lab.routers]
    named += [(("lab", "external", each.name), "external host", each.name) for each in lab.externals]
    return [
        Problem(path, f"{kind} '{name}': in a lab {taken[name]} has this name", "choose another")
        for path, kind, name in named
        if name in taken
    ]


def _underlays(path: Path, subject: str, node: str) -> Problem:
    what = f"{subject}: in a lab {UNDERLAY_DEVICE} of node '{node}' is its way to the underlay"
    return Problem(path, what, "name another device")


def _segments(lab: LabSpec, intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    spans: dict[str, Span] = {}
    for segment in lab.segments:
        path: Path = (*_UNDERLAY, "segments", segment.name)
        found += name_problem(path, "segment", segment.name)
        here = span(segment.subnet)
        other = next((name for name, there in spans.items() if there.overlaps(here)), None)
        if other:
            what = f"segment '{segment.name}': {segment.subnet} overlaps segment '{other}'"
            found.append(Problem(path, what, "give it another subnet"))
        found += _mtu(path, f"segment '{segment.name}'", segment.mtu)
        spans[segment.name] = here
    if spans:
        found += _vteps(lab, intent, spans)
    return found


def _vteps(lab: LabSpec, intent: Intent, spans: dict[str, Span]) -> list[Problem]:
    """Every host joins the segment that holds its VTEP; a segment's last addresses are its routers'."""
    found: list[Problem] = []
    for name, node in intent.nodes.items():
        path: Path = ("nodes", name, "vtep")
        try:
            value = number(node.vtep)
        except ValueError:
            continue  # told of with the node
        segment = next((segment for segment, here in spans.items() if here.holds(value)), None)
        if segment is None:
            what = f"node '{name}': VTEP {node.vtep} is in no segment of the underlay"
            found.append(Problem(path, what, f"segments: {', '.join(s.subnet for s in lab.segments)}"))
            continue
        routers = sum(segment in router.segments for router in lab.routers)
        if not spans[segment].usable(value):
            what = f"node '{name}': VTEP {node.vtep} is its segment's network or broadcast address"
            found.append(Problem(path, what, "choose a host's address"))
        elif value[1] > spans[segment].last - routers:
            what = (
                f"node '{name}': VTEP {node.vtep} is an underlay router's: they take the last addresses of '{segment}'"
            )
            found.append(Problem(path, what, "choose a lower one"))
    return found


def _routers(lab: LabSpec, intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    known = [segment.name for segment in lab.segments]
    for router in lab.routers:
        path: Path = (*_UNDERLAY, "routers", router.name)
        found += name_problem(path, "underlay router", router.name)
        subject = f"underlay router '{router.name}'"
        if router.name in intent.nodes:
            found.append(Problem(path, f"{subject}: a node has this name", "choose another"))
        if len(set(router.segments)) < 2:
            found.append(Problem(path, f"{subject}: joins fewer than two segments", "write [SEGMENT, SEGMENT]"))
        for index, name in enumerate(router.segments):
            if name not in known:
                remedy = suggestion(name, known, "segment")
                where = (*path, index)
                found.append(Problem(where, f"{subject}: unknown segment '{name}'", remedy))
        if router.mtu is not None:
            found += _mtu(path, subject, router.mtu)
    return found


def _flannel(lab: LabSpec, intent: Intent) -> list[Problem]:
    """Nodes that there are, in subnets that flannel's daemon can have; the rest of its configuration is its own."""
    if lab.flannel is None:
        return []
    path: Path = ("lab", "flannel", "subnets")
    found = [
        Problem((*path, node), f"flannel: unknown node '{node}'", suggestion(node, intent.nodes, "node"))
        for node in lab.flannel.subnets
        if node not in intent.nodes
    ]
    if not lab.flannel.subnets:
        found.append(Problem(path, "flannel: no node has a subnet", "write {NODE: SUBNET}"))
    for node, subnet in lab.flannel.subnets.items():
        if ipaddress.ip_network(subnet).version == 6:
            what = f"flannel: {subnet} of node '{node}' is no IPv4 subnet"
            found.append(Problem((*path, node), what, "the lab pins IPv4 subnets alone"))
    return found


def _mtu(path: Path, subject: str, mtu: int) -> list[Problem]:
    if MTU_MIN <= mtu <= MTU_MAX:
        return []
    return [Problem((*path, "mtu"), f"{subject}: MTU {mtu} is out of range", f"choose {MTU_MIN} to {MTU_MAX}")]


def _externals(lab: LabSpec, intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    taken = set(intent.nodes) | {router.name for router in lab.routers}
    held = {
        (port.node, port.attach.target): f"port '{name}'"
        for name, port in intent.ports.items()
        if port.attach.kind is AttachKind.INTERFACE
    }
    for host in lab.externals:
        path: Path = ("lab", "external", host.name)
        subject = f"external host '{host.name}'"
        found += name_problem(path, "external host", host.name)
        if host.name in taken:
            found.append(Problem(path, f"{subject}: a node or underlay router has this name", "choose another"))
        if host.node not in intent.nodes:
            what = f"{subject}: unknown node '{host.node}'"
            found.append(Problem((*path, "node"), what, suggestion(host.node, intent.nodes, "node")))
        found += device_problem((*path, "interface"), subject, host.interface)
        other = held.setdefault((host.node, host.interface), subject)
        if host.interface == UNDERLAY_DEVICE:
            found.append(_underlays((*path, "interface"), subject, host.node))
        elif other != subject:
            what = f"{subject}: behind {host.interface} of node '{host.node}' stands {other} already"
            found.append(Problem((*path, "interface"), what, "name another device"))
        if ipaddress.ip_interface(host.address).ip.is_multicast:
            what = f"{subject}: {host.address} is a multicast address"
            found.append(Problem((*path, "address"), what, "choose a host's address"))
    return found
