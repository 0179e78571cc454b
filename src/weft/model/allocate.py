"""MACs and addresses for ports that name none: the same answer whatever the order, and kept once given.

First everything that is fixed takes its place: gateways and next hops of routers, what ports declare, what was
assigned before and still fits. Then the ports without take what is left, by name. MACs are locally administered
unicast (IEEE 802c: the second lowest bit of the first octet), from a hash of network and port name, the next free one
where two hashes meet. Addresses are the lowest free one of each subnet of the network.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from weft.model.address import int_to_mac, mac_to_int
from weft.model.errors import Kind, WeftError, WeftErrors
from weft.model.intent import Intent
from weft.model.network import Network
from weft.model.port import Hosts, Port
from weft.model.subnet import Span, number, span, text

MAC, IPS = "mac", "ips"
_LOCAL = 0x02 << 40
_MASK = (1 << 40) - 1


def assign(intent: Intent, stored: Intent) -> Intent:
    """`intent` (all of it, valid by `problems`) with every port given MAC and addresses; `assigned` says which of them.

    A port that `stored` holds in the same network keeps what it was assigned there, as far as it is still free and in
    the network's subnets. Raises WeftErrors (INVALID), one for each subnet that has too few addresses.
    """
    if all(_complete(port) for port in intent.ports.values()):
        return intent
    pools = {name: _Pool(network) for name, network in intent.networks.items()}
    for router in intent.routers.values():
        hops = {number(hop) for route in router.routes for hop in route.via}
        hops |= {number(hop) for policy in router.policies for hop in policy.via}
        for name, addresses in router.gateways.items():
            if name in pools:
                pools[name].ips |= hops | {number(address) for address in addresses}
    wanting: list[Port] = []
    for port in intent.ports.values():
        pool = pools.get(port.network)
        if pool is not None:
            pool.take(port)
            if not _complete(port):
                wanting.append(port)
    wanting.sort(key=lambda port: port.name)
    given: dict[str, tuple[str, dict[int, str]]] = {}
    for port in wanting:
        given[port.name] = pools[port.network].kept(port, stored.ports.get(port.name))
    done = {port.name: pools[port.network].fill(port, *given[port.name]) for port in wanting}
    errors = [error for pool in pools.values() for error in pool.errors()]
    if errors:
        raise WeftErrors(errors)
    return Intent(intent.nodes, intent.networks, intent.routers, intent.ports | done)


def _complete(port: Port) -> bool:
    return port.hosts is Hosts.LEARNED or bool(port.mac and port.ips)


class _Pool:
    """What is taken in one network, and where the search for a free address goes on."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.spans: list[Span] = [span(subnet) for subnet in network.subnets]
        self.next = [here.first for here in self.spans]
        self.macs: set[int] = set()
        self.ips: set[tuple[int, int]] = set()
        self.short: dict[int, list[str]] = {}  # subnet's index → ports that found nothing

    def take(self, port: Port) -> None:
        if port.mac:
            self.macs.add(mac_to_int(port.mac))
        self.ips.update(number(ip) for ip in port.ips)

    def kept(self, port: Port, before: Port | None) -> tuple[str, dict[int, str]]:
        """(MAC, addresses by subnet's index) that the port was assigned before and can keep; they are taken now."""
        mac, ips = "", dict[int, str]()
        if before is None or before.network != port.network:
            return mac, ips
        if not port.mac and MAC in before.assigned and before.mac and mac_to_int(before.mac) not in self.macs:
            mac = before.mac
            self.macs.add(mac_to_int(mac))
        for ip in before.ips if not port.ips and IPS in before.assigned else ():
            value = number(ip)
            index = next((i for i, here in enumerate(self.spans) if here.usable(value)), None)
            if index is not None and index not in ips and value not in self.ips:
                ips[index] = ip
                self.ips.add(value)
        return mac, ips

    def fill(self, port: Port, mac: str, kept: dict[int, str]) -> Port:
        assigned = [*port.assigned]
        ips = port.ips
        if not port.mac:
            assigned.append(MAC)
            mac = mac or self._mac(port.name)
        if not port.ips:
            assigned.append(IPS)
            found = (kept.get(index) or self._ip(index, port.name) for index in range(len(self.spans)))
            ips = tuple(ip for ip in found if ip)
        told = tuple(sorted(set(assigned), reverse=True))
        return msgspec.structs.replace(port, mac=port.mac or mac, ips=ips, assigned=told)

    def _mac(self, port: str) -> str:
        value = int.from_bytes(blake2b(f"{self.network.name}/{port}".encode(), digest_size=5).digest(), "big")
        while _LOCAL | value in self.macs:
            value = value + 1 & _MASK
        self.macs.add(_LOCAL | value)
        return int_to_mac(_LOCAL | value)

    def _ip(self, index: int, port: str) -> str:
        here, value = self.spans[index], self.next[index]
        while (here.version, value) in self.ips:
            value += 1
        self.next[index] = value
        if value > here.last:
            self.short.setdefault(index, []).append(port)
            return ""
        self.next[index] = value + 1
        return text(here.version, value)

    def errors(self) -> list[WeftError]:
        found = []
        for index, ports in sorted(self.short.items()):
            more = f" and {len(ports) - 1} more" if len(ports) > 1 else ""
            subnet = self.network.subnets[index]
            what = f"network '{self.network.name}': {subnet} has no free address for port '{ports[0]}'{more}"
            remedy = "use a larger subnet, or move ports to another network"
            found.append(WeftError(Kind.INVALID, what, remedy=remedy))
        return found
