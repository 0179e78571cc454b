"""Layer 2 and layer 3 of a node as one datapath: one observation of both, operations in one order.

A router's interfaces are ports of segments, so neither layer can go first with all it has: the order that
weft.plan.operations tells is kept, operation by operation, whichever layer each belongs to.
"""

from __future__ import annotations

import select
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from itertools import groupby

from weft.agent.l3_segments import L3Segments
from weft.l2.datapath import (
    Applied,
    Counters,
    Datapath,
    Event,
    Heard,
    Punted,
    RowsObserved,
    Sought,
    ToPorts,
    ToTunnels,
)
from weft.l2.open import open_datapath
from weft.l3.routing import KernelRouting, is_ours
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.model.node import DatapathKind, Facts
from weft.netlink.namespace import OWN, Rename
from weft.plan.node import Observed
from weft.plan.operations import Operation, PutPort
from weft.plan.port import port_of
from weft.plan.router import HOST_NAMESPACE, Router


def _same(name: str) -> str:
    return name


class Layers:
    """Implements weft.l2.datapath.Datapath over any datapath and the routers beside it."""

    def __init__(self, l2: Datapath, l3: KernelRouting) -> None:
        self._l2, self._l3 = l2, l3
        # A router's own VNI arrives on a UDP port that the datapath may not share.
        self._seat = L3Segments(l2) if getattr(l2, "takes_udp_port", False) else None
        l3.seat = self._seat

    @property
    def l2(self) -> Datapath:
        """The datapath alone, for what routers have no part in."""
        return self._l2

    def facts(self, node: str, vtep: str) -> Facts:
        return self._l2.facts(node, vtep)

    def observe(self) -> Observed:
        two, three = self._l2.observe(), self._l3.observe()
        if self._seat:
            return self._seat.fold(two, three)
        flaws = two.flaws | dict(three.flaws.items())
        return Observed(two.segments, two.tables, two.ports, flaws, two.learned, three.routers, three.tables)

    def observe_rows(self, segments: Collection[SegmentKey], before: Observed) -> Observed | None:
        """None also where the datapath cannot look at a part."""
        return self._l2.observe_rows(segments, before) if isinstance(self._l2, RowsObserved) else None

    def apply(self, operations: Sequence[Operation]) -> Applied:
        done: list[Operation] = []
        failed: list[tuple[Operation, WeftError]] = []
        for routing, run in groupby(operations, is_ours):
            if not routing:  # in one go: a datapath may gather what it is given
                blocked, able = self._in_the_way(tuple(run))
                failed += blocked
                applied = self._l2.apply(able)
                done += applied.done
                failed += applied.failed
                continue
            for operation in run:
                if error := self._route(operation):
                    failed.append((operation, error))
                else:
                    done.append(operation)
        return Applied(tuple(done), tuple(failed))

    def _in_the_way(
        self, run: tuple[Operation, ...]
    ) -> tuple[list[tuple[Operation, WeftError]], tuple[Operation, ...]]:
        """Interfaces of routers that the host's own namespace has no room for, and the rest."""
        guests = [each for each in run if isinstance(each, PutPort) and each.port.attach.target == HOST_NAMESPACE]
        refused = [(each, error) for each in guests if (error := self._l3.in_the_way(each.port))]
        bad = [each for each, _ in refused]
        return [*refused], tuple(each for each in run if each not in bad)

    def _route(self, operation: Operation) -> WeftError | None:
        try:
            if self._seat and (rows := self._seat.rows(operation)):
                for _, refusal in self._l2.apply([rows]).failed:
                    return refusal
            else:
                self._l3.apply(operation)
        except WeftError as error:
            return error
        except OSError as error:
            what = (error.strerror or str(error)).lower()
            return WeftError(Kind.FAILED, what, where=str(operation).splitlines()[0])
        return None

    def announce(self, routers: Iterable[Router]) -> None:
        """Centralized gateways that are here, told to the networks that learn where they are."""
        self._l3.announce(routers)

    def outside_refused(self, router: str, interface: str) -> WeftError | None:
        """Why a router that does not stand here could not have this device as its outside."""
        return self._l3.outside_refused(router, interface)

    @cached_property
    def _poll(self) -> select.epoll:
        poll = select.epoll()
        for fd in (self._l2.events_fd(), self._l3.events_fd()):
            if fd is not None:
                poll.register(fd, select.EPOLLIN)
        return poll

    def events(self) -> Sequence[Event]:
        return [*self._l2.events(), *(Event(what) for what in self._l3.events())]

    def events_fd(self) -> int | None:
        return self._poll.fileno()

    def watch(self, segments: Collection[SegmentKey]) -> None:
        self._l2.watch(segments)

    def punt(self) -> Sequence[Punted | Heard | Sought]:
        wishes = (Sought(segment, port_of(router, network), ip) for segment, router, network, ip in self._l3.sought())
        return [*self._l2.punt(), *wishes]

    def punt_fd(self) -> int | None:
        return self._punts.fileno()

    @cached_property
    def _punts(self) -> select.epoll:
        poll = select.epoll()
        for fd in (self._l2.punt_fd(), self._l3.sought_fd()):
            if fd is not None:
                poll.register(fd, select.EPOLLIN)
        return poll

    def speaker(self, segment: SegmentKey) -> str:
        return self._l2.speaker(segment)

    def inject(self, segment: SegmentKey, frame: bytes, to: ToPorts | ToTunnels) -> None:
        self._l2.inject(segment, frame, to)

    def counters(self) -> Counters:
        return self._l2.counters()

    def close(self) -> None:
        for name in ("_poll", "_punts"):
            if poll := self.__dict__.pop(name, None):
                poll.close()
        self._l2.close()
        self._l3.close()


def below(datapath: Datapath) -> Datapath:
    """The datapath without the routers beside it, if there are any."""
    return datapath.l2 if isinstance(datapath, Layers) else datapath


def open_layers(
    kind: DatapathKind,
    cluster: str = "default",
    namespace: str | None = None,
    names: Rename = _same,
    workers: int | None = None,
) -> Layers:
    """A datapath with the routers beside it. `namespace`: the host's, None for the process's own; `names`: what the
    namespaces of ports and routers are called here; `workers`: forwarding processes of the user datapath."""

    def ports(name: str) -> str:
        return (namespace or OWN) if name == HOST_NAMESPACE else names(name)

    return Layers(open_datapath(kind, cluster, namespace, ports, workers), KernelRouting(cluster, namespace, names))
