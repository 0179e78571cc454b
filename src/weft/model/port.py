"""A port: where something is attached to a network, on one node."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class AttachKind(StrEnum):
    """What stands behind a port.

    `host`: the node's own stack on the segment's bridge. `namespace`: a veth pair into a network namespace (a
    container). `tap`: a TAP device (a virtual machine). `interface`: a device of the host that is there already.
    """

    HOST = "host"
    NAMESPACE = "namespace"
    TAP = "tap"
    INTERFACE = "interface"


NO_GATEWAY = "none"


class Hosts(StrEnum):
    """Who is behind a port: one host with the port's MAC and IPs, or whoever shows up there."""

    DECLARED = "declared"
    LEARNED = "learned"


class Attach(msgspec.Struct, frozen=True, kw_only=True):
    """`target`: the namespace's, TAP's or interface's name, "" for host; `interface`: the device's name inside.

    `gateway`: where a namespace's default route leads: an address, "none", or "" for the network's own gateway.
    """

    kind: AttachKind
    target: str = ""
    interface: str = "eth0"
    gateway: str = ""

    def __str__(self) -> str:
        inside = f" {self.interface}" if self.kind is AttachKind.NAMESPACE and self.interface != "eth0" else ""
        return f"{self.kind} {self.target}".strip() + inside

    @property
    def place(self) -> tuple[str, str, str]:
        """What no two ports of one node may share (a host port's place is its network, so it is not told here)."""
        inside = self.interface if self.kind is AttachKind.NAMESPACE else ""
        return self.kind, self.target, inside


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """`mac` "" and `ips` () mean: to be assigned, which `apply` does before anything is stored; where hosts are learned
    there are none.

    `assigned` names which of the two Weft chose, so that a port declared again without them keeps them.
    """

    name: str
    network: str
    node: str
    attach: Attach
    mac: str = ""
    ips: tuple[str, ...] = ()
    mobile: bool = False
    hosts: Hosts = Hosts.DECLARED
    assigned: tuple[str, ...] = ()
