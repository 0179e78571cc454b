"""L3 VNIs as segments of the datapath: for one that takes all VXLAN of its host, as Open vSwitch does.

In the node plan an L3 VNI belongs to its router, on every datapath. Here it is made of what any datapath has: a segment
that nothing floods into, with router MAC → VTEP as its FDB, and one port, whose device stands in the router's namespace
and is called there as the kernel's vxlan device is elsewhere. An observation folds both back into the router, so that
nobody above knows the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weft.l2.datapath import Datapath
from weft.l3.routing import Routers
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach, AttachKind
from weft.plan.node import Observed
from weft.plan.operations import DropPort, DropRows, DropSegment, Operation, PutPort, PutRows, PutSegment
from weft.plan.port import LocalPort
from weft.plan.router import L3Segment, Router, RouterDevice, l3_device, namespace_of
from weft.plan.segment import Segment
from weft.plan.tables import Table, Tables

_AGE = 300  # nothing is learned there


class L3Segments:
    """Implements weft.l3.seat.L3Seat over a datapath; `fold` is given every observation."""

    def __init__(self, l2: Datapath) -> None:
        self._l2 = l2
        self._keys: dict[RouterDevice, SegmentKey] = {}
        self._there: dict[str, tuple[Segment | None, LocalPort | None]] = {}  # by router
        self._sound: set[str] = set()  # routers whose segment and port have no flaw

    def put(self, router: Router) -> None:
        wanted = (segment_of(router), port_of(router))
        there = self._there.get(router.name, (None, None))
        if there[0] is not None and there[0].key != wanted[0].key:
            self.drop(router.name)
        if there == wanted and router.name in self._sound:
            return
        self._apply(PutSegment(wanted[0]), PutPort(wanted[1]))
        self._there[router.name] = wanted
        self._keys[RouterDevice(router.name, wanted[1].attach.interface)] = wanted[0].key

    def drop(self, router: str) -> None:
        segment, port = self._there.get(router, (None, None))
        self._apply(*([DropPort(port)] if port else []), *([DropSegment(segment)] if segment else []))
        self._there.pop(router, None)
        self._keys = {place: key for place, key in self._keys.items() if place.router != router}

    def rows(self, operation: Operation) -> PutRows | DropRows | None:
        """The operation on the segment's FDB that an operation on an L3 VNI's device stands for; None for others."""
        if not isinstance(operation, PutRows | DropRows) or operation.table is not Table.FDB:
            return None
        key = self._keys.get(operation.key) if isinstance(operation.key, RouterDevice) else None
        return type(operation)(key, operation.table, operation.rows) if key else None

    def _apply(self, *operations: Operation) -> None:
        for _, error in self._l2.apply(operations).failed:
            raise error

    def fold(self, two: Observed, three: Routers) -> Observed:
        """Both observations as one, L3 VNIs in their routers."""
        self._there, self._keys, self._sound = {}, {}, set()
        ports = dict(two.ports)
        segments, tables, flaws = dict(two.segments), dict(two.tables), dict(two.flaws)
        routers = {name: replace(found, l3=None) for name, found in three.routers.items()}
        router_tables = dict(three.tables)
        flaws |= dict(three.flaws.items())
        for name, router in _owners(two).items():
            port = ports.pop(name, None)
            key = port.segment if port else next(key for key, each in two.segments.items() if each.network == name)
            segment, rows = segments.pop(key, None), tables.pop(key, Tables.none())
            told = (*flaws.pop(key, ()), *flaws.pop(name, ()))
            wrong = tuple(flaw for flaw in told if flaw not in _own(port, routers.get(router)))
            seen = replace(port, addresses=(), gateways=()) if port else None  # the router's own are no matter of ours
            self._there[router] = segment, seen
            if not wrong:
                self._sound.add(router)
            else:
                flaws[RouterDevice(router, "")] = (*flaws.get(RouterDevice(router, ""), ()), *wrong)
            found = routers.get(router, Router(router, namespace_of(router)))
            if segment is None or seen is None:
                routers[router] = found
                continue
            device = RouterDevice(router, seen.attach.interface)
            self._keys[device] = key
            routers[router] = replace(found, l3=L3Segment(key, device.device, segment.vtep, seen.mac, seen.mtu))
            router_tables[device] = replace(router_tables.get(device, Tables.none()), fdb=rows.fdb)
        return Observed(segments, tables, ports, flaws, two.learned, routers, router_tables)


def _own(port: LocalPort | None, router: Router | None) -> set[str]:
    """What a datapath says of the router's own addresses, which weft.l3.router gives to the device."""
    return {f"{port.attach.interface} has {address}" for address in router.addresses} if port and router else set()


def _owners(observed: Observed) -> dict[str, str]:
    """Name of the port (and of the segment's network) → router; no declared one ends in a slash."""
    names: Sequence[str] = [*observed.ports, *(segment.network for segment in observed.segments.values())]
    return {name: name[:-1] for name in names if name.endswith("/")}


def _name(router: str) -> str:
    return f"{router}/"


def segment_of(router: Router) -> Segment:
    """The L3 VNI of a router that has one: nothing is flooded or asked for in it."""
    l3 = _l3(router)
    return Segment(l3.key, _name(router.name), l3.vtep, l3.mtu, learning=False, age=_AGE, arp=Arp.SUPPRESS)


def port_of(router: Router) -> LocalPort:
    l3 = _l3(router)
    attach = Attach(kind=AttachKind.NAMESPACE, target=router.namespace, interface=l3_device(l3.key))
    return LocalPort(_name(router.name), l3.key, attach, l3.mac, (), l3.mtu)


def _l3(router: Router) -> L3Segment:
    assert router.l3
    return router.l3
