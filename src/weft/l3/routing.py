"""A node's routers, put together: each operation goes to the file of its kind; `observe` reads everything anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from weft.l3 import irb, paths, router, tables
from weft.l3.advertise import Advertiser
from weft.l3.announce import announce
from weft.l3.events import Events
from weft.l3.host import in_the_way
from weft.l3.inside import Inside, RouterHost
from weft.l3.seat import L3Seat
from weft.l3.sought import Sought, Wish
from weft.model.errors import WeftError
from weft.model.network import SegmentKey
from weft.netlink.links import Link
from weft.netlink.namespace import Rename
from weft.plan.operations import DropRouter, DropRows, Operation, PutIrb, PutPaths, PutRouter, PutRows
from weft.plan.port import LocalPort
from weft.plan.router import Router, RouterDevice, namespace_of
from weft.plan.tables import Tables


@dataclass(frozen=True, slots=True)
class Routers:
    """What stands here and is ours, in the plan's own terms (weft.plan.node.Observed)."""

    routers: dict[str, Router] = field(default_factory=dict)
    tables: dict[RouterDevice, Tables] = field(default_factory=dict)
    flaws: dict[RouterDevice, tuple[str, ...]] = field(default_factory=dict)


def _same(name: str) -> str:
    return name


def is_ours(operation: Operation) -> bool:
    """Whether an operation is about routers."""
    if isinstance(operation, PutRows | DropRows):
        return isinstance(operation.key, RouterDevice)
    return isinstance(operation, PutRouter | DropRouter | PutIrb | PutPaths)


class KernelRouting:
    """The routers of one node. Raises WeftError.

    `namespace`: the named network namespace that the host lives in, None for the process's own. `names` maps a router's
    namespace as the plan calls it to its name on this machine (labs rename them). `seat`: who makes L3 VNIs; None:
    vxlan devices of the kernel.
    """

    seat: L3Seat | None = None

    def __init__(self, cluster: str = "default", namespace: str | None = None, names: Rename = _same) -> None:
        self._host = RouterHost(cluster, namespace, names)
        self._put: dict[str, Router] = {}  # as this process put them: in which order addresses were told

    @cached_property
    def _advertiser(self) -> Advertiser:
        return Advertiser()

    @cached_property
    def _events(self) -> Events:
        return Events()

    @cached_property
    def _sought(self) -> Sought:
        return Sought()

    def observe(self) -> Routers:
        found = Routers()
        insides: dict[str, Inside] = {}
        guests: dict[str, frozenset[int]] = {}  # devices of the router in the host's own namespace
        standing: dict[str, tuple[Router, Inside, dict[str, int]]] = {}
        asking: dict[str, dict[int, tuple[SegmentKey, str]]] = {}
        for name in self._host.ours():
            inside = self._host.find(name)
            if inside is not None:
                insides[name] = inside
                links = self._read(name, inside, found)
                if inside.host:
                    guests[name] = frozenset(link.index for link in links)
                made = found.routers[name]
                standing[name] = made, inside, {link.name: link.mtu for link in links}
                asking[name] = _asking(made, links)
        if "_events" in self.__dict__:
            self._events.learn(insides, guests)
            self._advertiser.follow(standing)  # who only looks does not speak
        self._sought.learn(insides, asking)
        return found

    def _read(self, name: str, inside: Inside, found: Routers) -> list[Link]:
        """Into `found`; its devices."""
        links = self._host.devices(inside)
        base, flaws = router.read(self._host, inside, name, links)
        interfaces = irb.read(self._host, inside, links)
        routes, rules = paths.read(inside, links)
        put = self._put.get(name)
        put_irbs = {each.device: each for each in put.interfaces} if put else {}
        irbs = [irb.ordered(each, put_irbs.get(each.device)) for each, _ in interfaces]
        made = replace(
            base,
            namespace=namespace_of(name, inside.host),
            interfaces=tuple(sorted(irbs, key=lambda each: each.device)),
            routes=routes,
            rules=rules,
        )
        found.routers[name] = _ordered(replace(made, lost=paths.lost(inside, made, links)), put)
        found.tables.update(tables.read(self._host, name, inside, links))
        told = [("", flaws), *((each.device, wrong) for each, wrong in interfaces)]
        found.flaws.update({RouterDevice(name, device): tuple(wrong) for device, wrong in told if wrong})
        return links

    def apply(self, operation: Operation) -> None:
        """One operation of those that `is_ours` names. Raises WeftError."""
        match operation:
            case PutRouter(wanted):
                router.put(self._host, wanted, self.seat)
                self._put[wanted.name] = wanted
            case DropRouter(gone):
                router.drop(self._host, gone, self.seat)
                self._put.pop(gone.name, None)
            case PutIrb(wanted, interface):
                irb.put(self._host, wanted, interface)
                self._put[wanted.name] = wanted
                announce(self._host, wanted.name, [interface])
            case PutPaths(wanted):
                paths.put(self._host, wanted)
            case PutRows(RouterDevice() as key):
                tables.put(self._host, key, operation)
            case DropRows(RouterDevice() as key):
                tables.drop(self._host, key, operation)

    def in_the_way(self, port: LocalPort) -> WeftError | None:
        """What of the host's own keeps a router's interface out of the host's own namespace."""
        inside = self._host.settle(port.name.partition("/")[0])
        own = {link.index for link in self._host.devices(inside)}
        own |= {link.index for link in (inside.links.get(port.attach.interface),) if link}  # put, and not yet an IRB
        return in_the_way(inside, own, port)

    def outside_refused(self, name: str, interface: str) -> WeftError | None:
        """Why a router that does not stand here could not have this device as its outside."""
        try:
            router.outside(self._host, name, interface)
        except WeftError as error:
            return error
        return None

    def announce(self, routers: Iterable[Router]) -> None:
        """Says where centralized gateways are, in the networks that learn it."""
        for each in routers:
            announce(self._host, each.name, each.interfaces)

    def events(self) -> list[str]:
        """What has happened since the last call, in words; never blocks."""
        return self._events.read()

    def events_fd(self) -> int:
        return self._events.fileno()

    def sought(self) -> list[Wish]:
        """Addresses that routers have packets for and no neighbor, since the last call; never blocks."""
        return self._sought.read()

    def sought_fd(self) -> int:
        return self._sought.fileno()

    def close(self) -> None:
        if advertiser := self.__dict__.pop("_advertiser", None):
            advertiser.close()
        self._host.close()
        for name in ("_events", "_sought"):
            if opened := self.__dict__.pop(name, None):
                opened.close()


def _asking(router: Router, links: list[Link]) -> dict[int, tuple[SegmentKey, str]]:
    """The devices by index that have the agent ask for neighbors, with their segments."""
    indexes = {link.name: link.index for link in links}
    return {indexes[each.device]: (each.segment, each.network) for each in router.interfaces if each.relayed}


def _ordered(found: Router, put: Router | None) -> Router:
    """Addresses in the order in which they were told, where they are the same ones."""
    if put is None:
        own = tuple(sorted(found.addresses, key=lambda text: ":" in text))
        return replace(found, addresses=own)
    own = put.addresses if set(put.addresses) == set(found.addresses) else found.addresses
    outside = found.outside
    if outside and put.outside and set(outside.addresses) == set(put.outside.addresses):
        outside = replace(outside, addresses=put.outside.addresses)
    return replace(found, addresses=own, outside=outside)
