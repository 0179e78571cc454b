"""A node: one VTEP of the fleet, as people declare it, and what it says of itself."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class DatapathKind(StrEnum):
    """How a node forwards."""

    KERNEL = "kernel"
    OVS = "ovs"
    USER = "user"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A host that takes part: `vtep` is its address on the underlay, IPv4 or IPv6."""

    name: str
    vtep: str
    datapath: DatapathKind = DatapathKind.KERNEL


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's agent found on its host; published by the agent, never by people.

    `interface` and `underlay_mtu` are those of the device that holds the VTEP address, None where no device does.
    `missing` maps a feature this host lacks to its remedy.
    """

    node: str
    version: str
    datapath: DatapathKind
    interface: str | None = None
    underlay_mtu: int | None = None
    addresses: tuple[str, ...] = ()
    receives_groups: bool = True
    missing: dict[str, str] = {}
