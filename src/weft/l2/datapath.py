"""The seam: what every datapath (`kernel`, `ovs`, `user`, `fake`) answers. Nothing above knows more.

observe   what is there and provably ours, as plan values
apply     operations, in order; says which were done and which failed, and why
events    someone touched ours, or a local host spoke
punt      frames asked for (`watch`), with the port or VTEP they came from, and MACs that a port began to send from;
          addresses that a router seeks
inject    a frame to local ports, to tunnels, or to one VTEP
counters  packets and octets by port and by VTEP, drops by reason

All calls are plain functions: a datapath's work is short system calls. `events` and `punt` hand over what has come
since the last call and a file descriptor to wait on, so that any event loop can drive them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from weft.model.errors import WeftError
from weft.model.network import SegmentKey
from weft.model.node import Facts
from weft.plan.node import Observed
from weft.plan.operations import Operation


@dataclass(frozen=True, slots=True)
class Applied:
    """How far an `apply` came: operations done, and those that failed with the reason."""

    done: tuple[Operation, ...] = ()
    failed: tuple[tuple[Operation, WeftError], ...] = ()

    @property
    def ok(self) -> bool:
        return not self.failed


@dataclass(frozen=True, slots=True)
class Event:
    """Something of ours changed (or vanished) without us: `segment` None means it can be anywhere: observe all.

    `rows`: it was rows of the segment's tables and nothing else.
    """

    what: str
    segment: SegmentKey | None = None
    rows: bool = False


@dataclass(frozen=True, slots=True)
class Punted:
    """A frame taken out of a segment: from a local `port`, or from a tunnel (`vtep` where the datapath knows it)."""

    segment: SegmentKey
    frame: bytes
    port: str | None = None
    vtep: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A MAC sends from a local port: its first frame, or the first after it was elsewhere.

    `gone`: it has not sent for as long as the segment remembers, or the port has lost its carrier. `fresh` False: no
    frame has come, the segment only remembers the MAC there.
    """

    segment: SegmentKey
    mac: str
    port: str
    gone: bool = False
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class Sought:
    """A router here has packets for an address in a segment, and no neighbor. `port`: its interface there."""

    segment: SegmentKey
    port: str
    ip: str


@dataclass(frozen=True, slots=True)
class ToPorts:
    """Local ports of the segment: all that are hosts', or the one named."""

    port: str | None = None


@dataclass(frozen=True, slots=True)
class ToTunnels:
    """Every remote VTEP of the segment, or the one named."""

    vtep: str | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """By port name or VTEP: (packets in, octets in, packets out, octets out); `drops`: reason → packets."""

    ports: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    segments: dict[SegmentKey, tuple[int, int, int, int]] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)


class Datapath(Protocol):
    """Raises `WeftError`; an operation's failure is returned by `apply`, not raised."""

    def facts(self, node: str, vtep: str) -> Facts:
        """What this host is and can do; probes the features that segments need."""
        ...

    def observe(self) -> Observed: ...

    def apply(self, operations: Sequence[Operation]) -> Applied: ...

    def events(self) -> Sequence[Event]:
        """What has happened since the last call; never blocks."""
        ...

    def events_fd(self) -> int | None:
        """Readable when `events` has something; None where it never has."""
        ...

    def watch(self, segments: Collection[SegmentKey]) -> None:
        """Asks for the ARP and ND that local ports of these segments send, and for their MACs; ends any other asking.

        The MACs that are there already are heard as well, now and at every `observe`. In a segment that is relayed:
        for ARP of routers and tunnels too, and for no MACs.
        """
        ...

    def punt(self) -> Sequence[Punted | Heard | Sought]:
        """What was asked for and has come since the last call; bounded, drops are counted; never blocks."""
        ...

    def punt_fd(self) -> int | None:
        """Readable when `punt` has something; None where it never has."""
        ...

    def speaker(self, segment: SegmentKey) -> str:
        """The MAC to inject with: what is answered to it goes no further than this node. Raises WeftError."""
        ...

    def inject(self, segment: SegmentKey, frame: bytes, to: ToPorts | ToTunnels) -> None: ...

    def counters(self) -> Counters: ...

    def close(self) -> None:
        """Lets go of sockets; the datapath goes on forwarding."""
        ...


@runtime_checkable
class RowsObserved(Protocol):
    """A datapath that can look at the rows of some segments alone."""

    def observe_rows(self, segments: Collection[SegmentKey], before: Observed) -> Observed | None:
        """`before` with the tables of these as they are now; None where more may have changed: observe all."""
        ...


@runtime_checkable
class FlowTables(Protocol):
    """A datapath whose tables are flows can show them; what for is for people (`weft show flows`)."""

    def flow_rows(self) -> list[dict[str, str]]:
        """Columns table, priority, network, mac, to, packets, octets, age, owner, match, actions."""
        ...
