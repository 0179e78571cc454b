"""The ARP relay on a running agent: what the datapath punts goes into the machines, what they say goes out at once.

One machine (weft.wire.relay) for each segment that is relayed. What it has learned is rows of the plan, neighbors of
every router's interface in the segment, so that a resync finds them wanted; the MACs' way to a VTEP the datapath learns
by itself. A restarted agent takes over the rows that it finds. Nothing of this needs the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import structlog

from weft.compile.world import World
from weft.l2.datapath import Datapath, Heard, Punted, Sought, ToPorts, ToTunnels
from weft.model.address import ip_to_words, is_ipv6, mac_to_int
from weft.model.errors import WeftError
from weft.model.network import SegmentKey
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import DropRows, PutRows
from weft.plan.port import port_of
from weft.plan.router import Irb, RouterDevice
from weft.plan.tables import NEIGHBORS, Rows, Table, Tables, normalized, text
from weft.wire.relay import Gateway, Relay, Send
from weft.wire.relay_facts import Fact

_QUIET = 60.0  # seconds between two lines about drops

log = structlog.get_logger("weft.agent")

Row = tuple[int, int, int]


@dataclass(slots=True)
class _Segment:
    """`devices`: routers' interfaces → rows of the other routers here. `rows`: what the machine has learned, by IP."""

    machine: Relay
    devices: dict[RouterDevice, Rows] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)

    def table(self, device: RouterDevice) -> Rows:
        learned = np.array(list(self.rows.values()), NEIGHBORS)
        return normalized(Table.NEIGHBORS, np.concatenate((learned, self.devices[device])))

    def take(self) -> dict[str, Fact | None]:
        """What the machine has learned and forgotten since, into `rows`."""
        changed = self.machine.facts.taken()
        for ip, fact in changed.items():
            if fact is None:
                self.rows.pop(ip, None)
            else:
                self.rows[ip] = _row(ip, fact.mac)
        return changed


class Relays:
    """`wake`: rows have to change. `now`: the monotonic clock, seconds."""

    def __init__(self, node: str, datapath: Datapath, wake: Callable[[], None], now: Callable[[], float]) -> None:
        self._node, self._datapath, self._wake, self._now = node, datapath, wake, now
        self._segments: dict[SegmentKey, _Segment] = {}
        self._adopted: set[RouterDevice] = set()
        self._plugged: set[str] = set()
        self._due = asyncio.Event()
        self._told, self._dropped = -_QUIET, 0

    @property
    def segments(self) -> frozenset[SegmentKey]:
        return frozenset(self._segments)

    # The plan

    def declared(self, plan: NodePlan, world: World) -> None:
        """The plan was compiled anew from this world."""
        wanted = {key: segment for key, segment in plan.segments.items() if segment.relayed}
        self._segments = {key: there for key, there in self._segments.items() if key in wanted}
        for key, segment in wanted.items():
            there = self._segments.setdefault(key, _Segment(Relay(segment.age)))
            there.machine.facts.age = segment.age
            irbs = {
                RouterDevice(router.name, irb.device): irb
                for router in plan.routers.values()
                for irb in router.interfaces
                if irb.segment == key and irb.relayed
            }
            hosts = {name for name, port in plan.ports.items() if port.segment == key and "/" not in name}
            vteps = {member.vtep for member in world.members(segment.network)} - {segment.vtep}
            there.machine.declare((_gateway(device.router, irb) for device, irb in irbs.items()), hosts, vteps)
            there.devices = {device: _others(device, irbs) for device in irbs}
        self._adopted &= {device for there in self._segments.values() for device in there.devices}

    def adopt(self, observed: Observed) -> None:
        """What an agent before this one has left in the routers' tables, once for each of their interfaces."""
        for key, there in self._segments.items():
            new = there.devices.keys() - self._adopted
            self._adopted |= new
            nothing = Tables.none()
            vteps = {row[0]: row[1] for row in text(Table.FDB, observed.learned.get(key, nothing).fdb)}
            facts: dict[str, Fact] = {}
            for device in sorted(new):
                static = {row[0] for row in text(Table.NEIGHBORS, there.devices[device])}
                for ip, mac in text(Table.NEIGHBORS, observed.router_tables.get(device, nothing).neighbors):
                    if ip not in static and not is_ipv6(ip):
                        facts[ip] = Fact(mac, vtep=vteps.get(mac, ""))
            if facts:
                there.machine.adopt(facts, self._now())
                there.rows |= {ip: _row(ip, fact.mac) for ip, fact in there.machine.facts}
                self._due.set()

    def plugged(self, plan: NodePlan) -> None:
        """The ports of the plan stand: those that are new may have come from another node."""
        new = {name: port for name, port in plan.ports.items() if port.segment in self._segments}
        for name in new.keys() - self._plugged:
            machine = self._segments[new[name].segment].machine
            for address in new[name].addresses:
                self._send(new[name].segment, machine.expected(name, address.partition("/")[0]))
        self._plugged = set(new)

    def into(self, plan: NodePlan) -> NodePlan:
        """The plan with all that is known in it."""
        made = dict(plan.router_tables)
        for there in self._segments.values():
            there.take()
            for device in there.devices:
                made[device] = Tables(neighbors=there.table(device))
        return replace(plan, router_tables=made) if self._segments else plan

    def touch(self, plan: NodePlan) -> tuple[NodePlan, list[PutRows | DropRows]]:
        """The plan with what has become known since, and the operations that lead there: puts, then drops."""
        made = dict(plan.router_tables)
        puts: list[PutRows | DropRows] = []
        drops: list[PutRows | DropRows] = []
        for there in self._segments.values():
            changed = there.take()
            known = [there.rows[ip] for ip, fact in changed.items() if fact]
            gone = [_row(ip, "00:00:00:00:00:00") for ip, fact in changed.items() if fact is None]
            for device in there.devices if changed else ():
                made[device] = Tables(neighbors=there.table(device))
                if known:
                    puts.append(PutRows(device, Table.NEIGHBORS, _sorted(known)))
                if gone:
                    drops.append(DropRows(device, Table.NEIGHBORS, _sorted(gone)))
        return (replace(plan, router_tables=made), [*puts, *drops]) if puts or drops else (plan, [])

    # In and out

    def take(self, punted: Punted | Heard | Sought) -> bool:
        """Whether it was the relay's business; what follows from it is done."""
        there = self._segments.get(punted.segment)
        if there is None or isinstance(punted, Heard):
            return there is not None
        now, machine = self._now(), there.machine
        if isinstance(punted, Sought):
            sends = machine.sought(punted.port, punted.ip, now)
        elif punted.port is None:
            sends = machine.from_tunnel(punted.vtep or "", punted.frame, now)
        else:
            sends = machine.from_port(punted.port, punted.frame, now)
        self._send(punted.segment, sends)
        if machine.facts.changed:
            self._due.set()
            self._wake()
        return True

    def _send(self, segment: SegmentKey, sends: Iterable[Send]) -> None:
        for send in sends:
            try:
                self._datapath.inject(segment, send.frame, ToTunnels() if send.tunnels else ToPorts(send.port or None))
            except WeftError as error:  # the port is gone, or the segment: nobody hears it, which is what then holds
                log.debug("cannot relay", node=self._node, segment=str(segment), error=str(error))

    async def run(self) -> None:
        """Asks for what nobody has confirmed for long; works until cancelled."""
        while True:
            self._due.clear()
            dues = [due for there in self._segments.values() if (due := there.machine.deadline) is not None]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(min(dues) - self._now(), 0.1) if dues else None):
                    await self._due.wait()
            self.tick()

    def tick(self) -> None:
        now = self._now()
        for key, there in self._segments.items():
            self._send(key, there.machine.tick(now))
            if there.machine.facts.changed:
                self._wake()
        dropped = sum(there.machine.dropped for there in self._segments.values())
        if dropped != self._dropped and now - self._told >= _QUIET:
            log.warning("relay beyond its limits", node=self._node, dropped=dropped - self._dropped)
            self._told, self._dropped = now, dropped


def _gateway(router: str, irb: Irb) -> Gateway:
    addresses = tuple(text for text in irb.addresses if not is_ipv6(text))
    return Gateway(port_of(router, irb.network), irb.mac, addresses, distributed=irb.proxy)


def _others(device: RouterDevice, irbs: Mapping[RouterDevice, Irb]) -> Rows:
    """The other routers' addresses here, which nobody needs to ask for."""
    own = set(irbs[device].addresses)
    return _sorted(
        _row(address.partition("/")[0], irb.mac)
        for other, irb in irbs.items()
        for address in irb.addresses
        if other != device and address not in own
    )


def _row(ip: str, mac: str) -> Row:
    return (*ip_to_words(ip), mac_to_int(mac))


def _sorted(rows: Iterable[Row]) -> Rows:
    return normalized(Table.NEIGHBORS, np.array(list(rows), NEIGHBORS))
