"""A router: gateways of networks in one routing table of their own, distributed or placed on nodes, and its borders."""

from __future__ import annotations

import msgspec

DISTRIBUTED = "distributed"
HOST = "host"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A static route; several next hops share the traffic (ECMP)."""

    to: str
    via: tuple[str, ...]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy route: what matches leaves by `via`. `ports` are destination ports."""

    via: tuple[str, ...]
    source: str | None = None
    to: str | None = None
    protocol: str | None = None
    ports: tuple[int, ...] = ()


class External(msgspec.Struct, frozen=True, kw_only=True):
    """The outside of a border on one node: a device and the address (with prefix length) that the router has on it.

    `nat`: None or `masquerade`. `static`: (inside address, outside address), translated one to one both ways.
    """

    node: str
    interface: str
    address: str
    nat: str | None = None
    static: tuple[tuple[str, str], ...] = ()


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """`gateways`: network → addresses. `placement` (): on every node (distributed); else the nodes, in order.

    `advertise`: hosts are told of its IPv6 gateways by router advertisements. `namespace`: None, one of its own on each
    node; `HOST`, the network stack of the node itself.
    """

    name: str
    gateways: dict[str, tuple[str, ...]]
    vni: int | None = None
    placement: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    policies: tuple[Policy, ...] = ()
    external: tuple[External, ...] = ()
    advertise: bool = False
    namespace: str | None = None

    @property
    def in_host(self) -> bool:
        """Whether it routes in the node's own network stack."""
        return self.namespace == HOST
