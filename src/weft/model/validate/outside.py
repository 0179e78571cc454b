"""Checks of borders: the device and the address of an outside, one router a device, 1:1 translation both ways."""

from __future__ import annotations

import ipaddress

from weft.model.intent import Intent
from weft.model.router import Router
from weft.model.subnet import span
from weft.model.validate.lenient import as_number, is_interface, spans
from weft.model.validate.problem import Path, Problem, device_problem


def outside_problems(router: Router, intent: Intent) -> list[Problem]:
    return [*_external(router), *_static(router, intent)]


def _external(router: Router) -> list[Problem]:
    found: list[Problem] = []
    for side in router.external:
        path: Path = ("routers", router.name, "external", side.node)
        if side.interface == "lo":
            what = f"router '{router.name}': lo leads nowhere outside, and stays where it is"
            found.append(Problem((*path, "interface"), what, "name a device that the router can have for itself"))
        else:
            found += device_problem((*path, "interface"), f"router '{router.name}'", side.interface)
        if not is_interface(side.address):
            what = f"router '{router.name}': '{side.address}' is not an address with prefix length"
            found.append(Problem((*path, "address"), what, "write it as 50.1.1.254/24"))
        elif not _is_host(side.address):
            what = f"router '{router.name}': {side.address} is its subnet's network or broadcast address"
            found.append(Problem((*path, "address"), what, "choose a host's address"))
    return found


def _is_host(address: str) -> bool:
    own = ipaddress.ip_interface(address)
    return span(str(own.network)).usable((own.version, int(own.ip)))


def _static(router: Router, intent: Intent) -> list[Problem]:
    """1:1 NAT: the inside address is in one of its networks, the outside one beside the router's own."""
    found: list[Problem] = []
    inside = spans(
        subnet for name in router.gateways if name in intent.networks for subnet in intent.networks[name].subnets
    )
    for side in router.external if router.gateways else ():
        if not is_interface(side.address):
            continue
        own = ipaddress.ip_interface(side.address)
        stands: dict[str, str] = {}  # outside address → inside address
        for within, without in side.static:
            path: Path = ("routers", router.name, "external", side.node, "static", within)
            subject = f"router '{router.name}'"
            value, outer = as_number(within), as_number(without)
            if value is None or not any(here.usable(value) for here in inside):
                found.append(Problem(path, f"{subject}: {within} is in none of its networks", "name an inside address"))
            elif outer is None or not span(str(own.network)).usable(outer) or without == str(own.ip):
                what = f"{subject}: {without} cannot stand for {within} on {side.address}"
                found.append(Problem(path, what, f"choose another address of {own.network}"))
            elif (other := stands.setdefault(without, within)) != within:
                what = f"{subject}: {without} stands for {other} already, and cannot stand for {within} too"
                found.append(Problem(path, what, f"choose another address of {own.network}"))
    return found


def shared_devices(intent: Intent) -> list[Problem]:
    """A device goes into the namespace of one router."""
    found: list[Problem] = []
    held: dict[tuple[str, str], str] = {}  # (node, device) → router
    for name, router in intent.routers.items():
        for side in router.external:
            other = held.setdefault((side.node, side.interface), name)
            if other != name:
                path: Path = ("routers", name, "external", side.node, "interface")
                device = f"{side.interface} of node '{side.node}'"
                what = f"router '{name}': {device} is the outside of router '{other}' already"
                remedy = f"give it one of its own, such as: ip link add link {side.interface} name NAME type macvlan"
                found.append(Problem(path, what, remedy))
    return found
