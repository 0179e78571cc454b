"""Makes a topology true, and unmakes it: namespaces, bridges, veth pairs, addresses, routes.

Fast because nothing is asked twice. All namespaces are created, keeping a netlink socket in each; then one batch in
the fabric makes all bridges and veth pairs, each pair's far end in its machine's namespace at once; then one batch a
machine sets addresses and routes.

`remove` goes by the names it is given, so that it also clears what a killed `up` has left.
"""

from __future__ import annotations

import ipaddress
import os
import resource
from collections.abc import Callable, Iterable
from pathlib import Path

from weft.lab.rtnl import Rtnl, veth_end
from weft.lab.topology import Machine, Topology
from weft.model.address import is_ipv6
from weft.model.errors import Kind, WeftError
from weft.netlink import namespace

_MACHINE = {
    # accept_dad off: an address is usable at once; addr_gen_mode 1: none, so nothing is said unasked
    "ipv6/conf/all/accept_dad": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
    "ipv6/conf/default/router_solicitations": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
}
_ROUTER = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    # a router that is asked for too big a packet must say so every time, or tests see silence
    "ipv4/icmp_ratelimit": "0",
    "ipv6/icmp/ratelimit": "0",
}
_END = {"ipv4/ip_forward": "0"}
_FABRIC = {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1", "ipv4/ip_forward": "0"}
_FIRST_INDEX = 2  # 1 is lo

Progress = Callable[[str, int, int], None]  # (what, done, of)


def build(topology: Topology, *, offloads: bool, progress: Progress | None = None) -> None:
    """Creates everything; raises FAILED with the kernel's reason. Names must be free, see `refuse_taken`.

    What was made before a failure is removed again. `offloads` False: frames look as a NIC would send them.
    """
    allow_descriptors(3 * len(topology.namespaces) + 64)
    site = _Site(topology, progress or (lambda what, done, of: None))
    try:
        site.create_namespaces()
        site.wire(offloads)
        site.configure()
    except BaseException:
        site.close()
        remove(site.made)
        raise
    site.close()


def refuse_taken(topology: Topology) -> None:
    """Raises REFUSED if something else on this machine has a namespace of that name: it must never be removed."""
    for name in topology.namespaces:
        if namespace.exists(name):
            raise WeftError(
                Kind.REFUSED,
                f"the network namespace {name} is there already and not of this lab",
                remedy=f"remove it with `ip netns delete {name}`, or name the lab otherwise",
            )


def remove(namespaces: Iterable[str]) -> list[str]:
    """Deletes these namespaces and with them all their devices; returns the names that were there."""
    there = [name for name in namespaces if namespace.exists(name)]
    for name in there:
        namespace.delete(name)
    return there


def add_end(machine: Machine) -> None:
    """One more end point in a lab that is up. Raises FAILED."""
    namespace.create(machine.netns)
    with namespace.entered(machine.netns):
        for key, value in (_MACHINE | _END).items():
            try:
                Path("/proc/sys/net", key).write_bytes(value.encode())
            except FileNotFoundError:  # a kernel without IPv6, or without this knob
                pass
        rtnl = Rtnl()
    rtnl.set_up(1, f"{machine.netns} lo")
    rtnl.flush()
    rtnl.close()


class _Site:
    """What is in the making: a netlink socket and a descriptor for each namespace made so far."""

    def __init__(self, topology: Topology, progress: Progress) -> None:
        self.topology = topology
        self.progress = progress
        self.made: list[str] = []
        self._rtnl: dict[str, Rtnl] = {}
        self._fd: dict[str, int] = {}
        self._wired = {wire.machine: wire.addresses for wire in topology.wires}

    def close(self) -> None:
        for rtnl in self._rtnl.values():
            rtnl.close()
        for fd in self._fd.values():
            os.close(fd)
        self._rtnl, self._fd = {}, {}

    def create_namespaces(self) -> None:
        """Namespaces, each with its settings, before it has any device but `lo`."""
        self._create(self.topology.fabric, _FABRIC)
        for number, machine in enumerate(self.topology.machines, 1):
            self._create(machine.netns, _MACHINE | (_ROUTER if machine.kind == "router" else _END))
            self.progress("namespaces", number, len(self.topology.machines))

    def _create(self, name: str, settings: dict[str, str]) -> None:
        namespace.create(name)
        self.made.append(name)
        self._fd[name] = os.open(namespace.path(name), os.O_RDONLY | os.O_CLOEXEC)
        with namespace.entered(self._fd[name]):
            self._prepare(name, settings)

    def _prepare(self, name: str, settings: dict[str, str]) -> None:
        for key, value in settings.items():
            try:
                Path("/proc/sys/net", key).write_bytes(value.encode())
            except FileNotFoundError:  # a kernel without IPv6, or without this knob
                pass
        rtnl = self._rtnl[name] = Rtnl()
        rtnl.set_up(1, f"{name} lo")
        rtnl.flush()

    def wire(self, offloads: bool) -> None:
        """Bridges, the ports of all machines, and the wires past the fabric."""
        topology, fabric = self.topology, self._rtnl[self.topology.fabric]
        bridges = {lan.segment: number for number, lan in enumerate(topology.lans, _FIRST_INDEX)}
        for lan in topology.lans:
            fabric.add_bridge(bridges[lan.segment], lan.bridge, lan.mtu)
        index = _FIRST_INDEX + len(bridges)
        for machine in topology.machines:
            for place, link in enumerate(machine.links, _FIRST_INDEX):
                end = veth_end(place, link.device, link.mtu, link.mac, self._fd[machine.netns])
                fabric.add_veth(index, link.port, link.mtu, bridges[link.segment], end)
                index += 1
        fabric.flush()
        for number, wire in enumerate(topology.wires):
            node, machine = topology.machine(wire.node), topology.machine(wire.machine)
            end = veth_end(_FIRST_INDEX, wire.device, 1500, wire.mac, self._fd[machine.netns])
            # far from the first numbers, which a host's underlay device has
            self._rtnl[node.netns].add_veth(100 + number, wire.interface, 1500, 0, end)
            self._rtnl[node.netns].flush()
        if not offloads:
            for machine in topology.machines:
                for link in machine.links:
                    fabric.offloads_off(link.port)
                    self._rtnl[machine.netns].offloads_off(link.device)
            for wire in topology.wires:
                self._rtnl[topology.machine(wire.node).netns].offloads_off(wire.interface)
                self._rtnl[topology.machine(wire.machine).netns].offloads_off(wire.device)

    def configure(self) -> None:
        """Addresses and routes."""
        for number, machine in enumerate(self.topology.machines, 1):
            self._configure(machine)
            self.progress("addresses", number, len(self.topology.machines))

    def _configure(self, machine: Machine) -> None:
        rtnl = self._rtnl[machine.netns]
        for place, link in enumerate(machine.links, _FIRST_INDEX):
            rtnl.set_up(place, f"{machine.name} {link.device}")
            if is_ipv6(link.address):
                # a router asks for neighbors from its link-local address only, and without one not at all
                rtnl.add_address(place, link_local(link.mac), machine.name)
            rtnl.add_address(place, link.address, machine.name)
        if machine.name in self._wired:
            rtnl.set_up(_FIRST_INDEX, f"{machine.name} eth0")
        for address in self._wired.get(machine.name, ()):
            rtnl.add_address(_FIRST_INDEX, address, machine.name)
        for to, via in machine.routes:
            rtnl.add_route(to, via, machine.name)
        rtnl.flush()


def link_local(mac: str) -> str:
    """The address with prefix length that a MAC makes: modified EUI-64, RFC 4291 appendix A."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    address = ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier)
    return f"{address}/64"


def allow_descriptors(wanted: int) -> None:
    """Raises this process's limit on open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(wanted, soft), hard), hard))
