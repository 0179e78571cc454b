"""Checks of a lab: an underlay that can carry its VTEPs, and steps and mutations that name what is there."""

from __future__ import annotations

import ipaddress

from weft.model.address import MTU_MAX, MTU_MIN
from weft.model.intent import Intent
from weft.model.lab import LabSpec
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
    for host in lab.externals:
        path: Path = ("lab", "external", host.name)
        found += name_problem(path, "external host", host.name)
        if host.name in taken:
            what = f"external host '{host.name}': a node or underlay router has this name"
            found.append(Problem(path, what, "choose another"))
        if host.node not in intent.nodes:
            what = f"external host '{host.name}': unknown node '{host.node}'"
            found.append(Problem((*path, "node"), what, suggestion(host.node, intent.nodes, "node")))
        found += device_problem((*path, "interface"), f"external host '{host.name}'", host.interface)
        if ipaddress.ip_interface(host.address).ip.is_multicast:
            what = f"external host '{host.name}': {host.address} is a multicast address"
            found.append(Problem((*path, "address"), what, "choose a host's address"))
    return found
