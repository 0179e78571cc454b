"""What a lab file says beside intent: the underlay to build, what to expect, and the mutations that must be caught.

Names in steps: a port's name means the end point behind it; a node's name means the host; anything else must be an IP
address (targets only) or, for tunnels, a multicast group.
"""

from __future__ import annotations

from typing import Any

import msgspec

UNDERLAY_DEVICE = "eth1"  # of each host
MAC_NAMES = ("port:", "gateway:", "irb:", "router:")  # what stands before names that mean a MAC


class UnderlaySegment(msgspec.Struct, frozen=True, kw_only=True):
    """One LAN of the underlay. Hosts join the segment that holds their VTEP address, on device `eth1`."""

    name: str
    subnet: str
    mtu: int = 1500


class UnderlayRouter(msgspec.Struct, frozen=True, kw_only=True):
    """Joins segments, at the last host addresses of each; hosts route through it by default. `mtu`: of its links."""

    name: str
    segments: tuple[str, ...]
    mtu: int | None = None


class ExternalHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host without VXLAN behind `interface` of `node`: what a border leads to."""

    name: str
    node: str
    interface: str
    address: str


class FlannelNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A flannel network with an etcd of its own. `config`: what etcd holds; `subnets`: node → the subnet it asks for.

    Each node has a bridge with the subnet's first address, which its external hosts stand in and route by.
    """

    config: dict[str, Any]
    subnets: dict[str, str]


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag="ping"):
    """ICMP echo. `size`: octets of the whole inner IP packet; `df`: may not be fragmented.

    `interval`: seconds from one request to the next, whatever becomes of it; 0: each waits for its answer. `lose`: so
    many may go unanswered. `meanwhile`: done after a quarter of the requests; `ttl`: of the answers.
    """

    source: str
    to: str
    count: int = 1
    size: int | None = None
    df: bool = False
    interval: float = 0.0
    lose: int = 0
    ttl: int | None = None
    meanwhile: Kill | Heal | Move | None = None


class Kill(msgspec.Struct, frozen=True, kw_only=True, tag="kill"):
    """The node falls off the underlay, as if its host had died."""

    node: str


class Heal(msgspec.Struct, frozen=True, kw_only=True, tag="heal"):
    """The node is back on the underlay."""

    node: str


class Move(msgspec.Struct, frozen=True, kw_only=True, tag="move"):
    """The port is declared on another node, and what stands behind it shows up there."""

    port: str
    node: str


class Trace(msgspec.Struct, frozen=True, kw_only=True, tag="trace"):
    """A traceroute: `via` are the routers on the way, each by the address it answers with (a node: its VTEP's)."""

    source: str
    to: str
    via: tuple[str, ...] = ()


class Tcp(msgspec.Struct, frozen=True, kw_only=True, tag="tcp"):
    """A TCP transfer of this many octets, compared by checksum at the far end."""

    source: str
    to: str
    size: int = 1_000_000
    port: int = 5001


class Tables(msgspec.Struct, frozen=True, kw_only=True, tag="tables"):
    """Rows that a node's datapath must hold. `rows`: table (`fdb`, `arp`, `routes`, …) → row patterns.

    A pattern is a subset of a row's columns as `weft show -o json` prints them; `port:NAME` stands for that port's MAC
    and a node's name for its VTEP. `exactly`: no rows beside these in the networks that the patterns name.
    """

    node: str
    rows: dict[str, tuple[dict[str, str], ...]]
    exactly: bool = False


class Packets(msgspec.Struct, frozen=True, kw_only=True, tag="packets"):
    """What must be seen `on` the underlay while the steps of `during` run.

    `in_order`: these, in this order, others may stand between; `seen`: these, in any order; `never`: none of these;
    `only`: every VXLAN packet matches one of these. A pattern's keys are those of weft.lab.patterns.
    """

    on: str
    during: tuple[Step, ...]
    in_order: tuple[dict[str, str], ...] = ()
    seen: tuple[dict[str, str], ...] = ()
    never: tuple[dict[str, str], ...] = ()
    only: tuple[dict[str, str], ...] = ()


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="exec"):
    """A command on a host or end point that must exit 0."""

    on: str
    command: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation. `within`: seconds it may take to become true; `negate` (`not: true`): it must not come true."""

    action: Ping | Tcp | Tables | Packets | Run | Trace | Kill | Heal | Move
    within: float = 0.0
    negate: bool = False
    line: int = 0


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """The lab with one thing broken, which some step must notice: the agents are stopped (unless they relay ARP), then
    `commands` run."""

    name: str
    commands: tuple[tuple[str, str], ...]  # (host, shell words)
    line: int = 0


class LabSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that `weft lab` reads beside intent. No underlay stated: one flat segment is derived from the VTEPs."""

    name: str
    segments: tuple[UnderlaySegment, ...] = ()
    routers: tuple[UnderlayRouter, ...] = ()
    externals: tuple[ExternalHost, ...] = ()
    flannel: FlannelNetwork | None = None
    expect: tuple[Step, ...] = ()
    mutations: tuple[Mutation, ...] = ()
