"""The daemon: etcd's leases and this node's own, the backend that follows them, and what else a node needs.

    watch ─┐                    ┌─▶ backend: its own side, then peers
    lease ─┼─▶ inbox ─▶ one loop ┼─▶ subnet file, masquerading
    drift ─┤   (marks)           └─▶ what to do again, and when
    host  ─┘

Whatever wakes it only leaves a mark; the loop alone applies. Calls to etcd about the own lease run beside it, one at a
time, so that an etcd that is away delays no repair; it changes nothing on the wire either. Nothing is removed before
the leases have been read. Stopping leaves forwarding as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from weft.model.errors import Kind, WeftError
from weft.peering.flannel import subnet_file
from weft.peering.flannel.backend import Backend, External, Lease
from weft.peering.flannel.config import NetworkConfig, parse
from weft.peering.flannel.diagnose import no_configuration
from weft.peering.flannel.external import Underlay
from weft.peering.flannel.follow import follow
from weft.peering.flannel.holder import Held, hold
from weft.peering.flannel.options import Options
from weft.peering.flannel.registry import Listing, Registry, event
from weft.peering.flannel.subnets import Node
from weft.peering.flannel.surroundings import Surroundings
from weft.peering.flannel.trouble import Log, Trouble
from weft.store.etcd.address import Address
from weft.store.store import Changes

RESYNC = 60.0
"""Seconds between two looks at everything, for what no notification tells."""
_NAT = 5.0
"""Seconds between two looks at the masquerading."""

Make = Callable[[NetworkConfig, External, str | None], Backend]


@dataclass
class _Marks:
    """What the loop has to look at; `…_at`: when, by the loop's clock."""

    mend: bool = False
    start: bool = False
    host: bool = False
    hold: bool = False
    renew_at: float = float("inf")
    resync_at: float = float("inf")
    nat_at: float = float("inf")
    pauses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Failed:
    error: WeftError


class Daemon:
    """One node of one network. `make`: the backend that a configuration asks for."""

    def __init__(self, address: Address, options: Options, make: Make, log: Log) -> None:
        self._address, self._options, self._make, self._log = address, options, make, log
        self._registry = Registry(address)
        self._chance = random.Random()
        self._inbox: asyncio.Queue[Changes | Listing | Held | _Failed | str] = asyncio.Queue()
        self._marks = _Marks()
        self._others: dict[str, Lease] = {}
        self._own: Lease | None = None
        self._holding: asyncio.Task[None] | None = None
        self._trouble = Trouble(log)
        self._noted: dict[str, str] = {}
        self.ready = False

    def problems(self) -> list[str]:
        """What is wrong now, in words."""
        return self._trouble.now()

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self, ready: Callable[[], None]) -> None:
        """Until cancelled. Raises what no waiting mends: a wrong configuration of this node, an exhausted pool."""
        async with contextlib.AsyncExitStack() as opened:
            opened.push_async_callback(self._registry.close)
            self._config = await self._configured()
            config, options = self._config, self._options
            self._underlay = Underlay(
                options.namespace, options.wish, four=config.four is not None, six=config.six is not None
            )
            opened.callback(self._underlay.close)
            self._external = self._underlay.find()
            self._backend = self._make(config, self._external, options.namespace)
            opened.push_async_callback(self._backend.close)
            self._around = Surroundings(options, config)
            opened.callback(self._around.close)
            remembered = subnet_file.read(options.subnet_file)
            self._previous, self._etcd_lease = (remembered.subnet, remembered.subnet6), remembered.etcd_lease
            held = await self._patiently("etcd", self._hold)
            await self._start(held)
            for what, remedy in self._around.obstacles(self._external):
                self._log(what, warning=True, remedy=remedy)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(
                    follow(self._registry, held.listing.revision + 1, self._inbox.put_nowait, self._watched)
                )
                tasks.create_task(self._notice("touched", self._backend.touched))
                tasks.create_task(self._notice("host", self._underlay.changed))
                self.ready = True
                ready()
                await self._loop()

    async def release(self) -> None:
        """Gives the lease back, unless it is to be kept; after `run`."""
        if self._own is None or self._options.keep_lease or self._own.reserved:
            return
        registry = Registry(self._address)
        try:
            await registry.give_back([self._own])
            subnet_file.forget(self._options.subnet_file)
            self._log("lease given back", subnet=str(self._own))
        except WeftError as error:
            self._log("lease not given back", warning=True, error=str(error))
        finally:
            await registry.close()

    async def _configured(self) -> NetworkConfig:
        """The network's configuration; waited for, as flannel does, saying why."""
        while True:
            try:
                text = await self._registry.config()
                if text is None:
                    raise await no_configuration(self._address)
                config = parse(text)
                self._trouble.well("configuration")
                return config
            except WeftError as error:
                if error.kind in (Kind.USAGE, Kind.REFUSED):
                    raise
                self._trouble.say("configuration", error)
            await asyncio.sleep(1.0)

    async def _patiently(self, topic: str, work: Callable[[], Coroutine[Any, Any, Held]]) -> Held:
        while True:
            try:
                done = await work()
            except WeftError as error:
                if error.kind is not Kind.UNREACHABLE:
                    raise
                self._trouble.say(topic, error)
                await asyncio.sleep(1.0)
            else:
                self._trouble.well(topic)
                return done

    # -- what wakes the loop --------------------------------------------------------------------------------------

    def _watched(self, error: WeftError | None) -> None:
        if error is None:
            self._trouble.well("watch")
        else:
            self._trouble.say("watch", error)

    async def _notice(self, mark: str, happened: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await happened()
            self._inbox.put_nowait(mark)

    # -- the loop -------------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        marks, clock = self._marks, asyncio.get_running_loop().time
        marks.resync_at, marks.nat_at = clock() + RESYNC, clock() + _NAT
        while True:
            at = min(marks.renew_at, marks.resync_at, marks.nat_at, *marks.pauses.values(), clock() + RESYNC)
            first = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(at):
                    first = await self._inbox.get()
            if first is not None:
                await self._take(first)
            now = clock()
            if now >= marks.resync_at:
                marks.mend, marks.resync_at = True, now + RESYNC
            if now >= marks.renew_at:
                marks.hold, marks.renew_at = True, float("inf")
            for topic in [topic for topic, due in marks.pauses.items() if now >= due]:
                del marks.pauses[topic]
                marks.mend |= topic == "backend"
                marks.hold |= topic == "lease"
                marks.host |= topic == "host"
            if now >= marks.nat_at:
                marks.nat_at = now + _NAT
                self._masquerade()
            await self._tend()

    async def _take(self, first: Changes | Listing | Held | _Failed | str) -> None:
        """Everything that waits, changes of leases together."""
        items = [first]
        while not self._inbox.empty():
            items.append(self._inbox.get_nowait())
        waiting: list[Changes] = []
        for item in items:
            if isinstance(item, Changes):
                waiting.append(item)
                continue
            await self._changed(waiting)
            waiting = []
            if isinstance(item, Listing):
                await self._reset(item)
            elif isinstance(item, Held):
                await self._held(item)
            elif isinstance(item, _Failed):
                self._later("lease", item.error)
            elif item == "touched":
                self._marks.mend = True
            else:
                self._marks.host = True
        await self._changed(waiting)

    async def _tend(self) -> None:
        """What the marks ask for."""
        marks = self._marks
        if marks.host:
            marks.host = False
            self._look_at_host()
        if marks.start and self._own is not None:
            marks.start = False
            await self._backed(self._backend.start(self._own, self._external))
            self._write_file()  # the MTU may be another one
        if marks.mend and "backend" not in marks.pauses:
            marks.mend = False
            await self._backed(self._mend())
        if marks.hold and self._holding is None:
            marks.hold = False
            self._holding = asyncio.create_task(self._hold_again())

    async def _mend(self) -> None:
        for line in await self._backend.check():
            self._log("repaired", what=line)

    # -- leases of others -----------------------------------------------------------------------------------------

    async def _changed(self, waiting: list[Changes]) -> None:
        assert self._own is not None
        latest = {change.key: event(change) for changes in waiting for change in changes.changes}
        added: list[Lease] = []
        removed: list[Lease] = []
        for key, said in latest.items():
            if key == self._own.key:
                self._marks.hold |= said.revision > self._own.revision
                continue
            if said.odd:
                self._log("lease left out", warning=True, error=said.odd)
            mine = said.lease is not None and said.lease.public_ip == self._external.public  # just taken, or an old one
            if said.lease is not None and not mine:
                self._others[key] = said.lease
                added.append(said.lease)
            elif (gone := self._others.pop(key, None)) is not None:
                removed.append(gone)
        if added or removed:
            await self._backed(self._backend.apply_events(added, removed))

    async def _reset(self, listing: Listing) -> None:
        assert self._own is not None
        for odd in listing.odd:
            self._log("lease left out", warning=True, error=odd)
        self._others = {lease.key: lease for lease in listing.leases if lease.key != self._own.key}
        self._marks.hold |= all(lease.key != self._own.key for lease in listing.leases)
        await self._backed(self._backend.set_peers(list(self._others.values())))

    # -- the own lease --------------------------------------------------------------------------------------------

    async def _hold(self) -> Held:
        external = self._external
        node = Node(external.public, external.public6, self._previous, self._etcd_lease)
        return await hold(
            self._registry, self._config, node, external, self._backend.lease_data, self._chance, self._options.ttl
        )

    async def _hold_again(self) -> None:
        try:
            await self._registry.hang_up()
            self._inbox.put_nowait(await self._hold())
        except WeftError as error:
            self._inbox.put_nowait(_Failed(error))
        finally:
            self._holding = None

    async def _start(self, held: Held) -> None:
        """The first time: errors end the daemon."""
        self._others = {lease.key: lease for lease in held.others}
        for odd in held.listing.odd:
            self._log("lease left out", warning=True, error=odd)
        self._keep(held)
        self._log("lease", subnet=str(held.own), public=str(held.own.public_ip), backend=self._config.backend)
        await self._backend.start(held.own, self._external)
        await self._backed(self._backend.set_peers(list(self._others.values())))
        self._masquerade()
        self._write_file()

    async def _held(self, held: Held) -> None:
        """After a renewal, or a change of the own lease."""
        before = self._own
        self._trouble.well("lease")
        self._keep(held)
        if before is not None and before.says(held.own):
            return
        self._log("lease", subnet=str(held.own), public=str(held.own.public_ip))
        if (taken := self._others.pop(held.own.key, None)) is not None:
            await self._backed(self._backend.apply_events([], [taken]))
        await self._backed(self._backend.start(held.own, self._external))
        self._masquerade()
        self._write_file()

    def _keep(self, held: Held) -> None:
        self._own, self._etcd_lease = held.own, held.own.etcd_lease
        self._previous = (held.own.subnet, held.own.subnet6)
        if held.told:
            self._log("another subnet", warning=True, what=held.told)
        if held.lasts is not None:
            now = asyncio.get_running_loop().time()
            self._marks.renew_at = now + max(held.lasts - self._options.margin, held.lasts / 3)

    def _look_at_host(self) -> None:
        """The host's address may be another one: the lease is written anew then, and the backend follows."""
        try:
            found = self._underlay.find(self._external)
        except WeftError as error:
            self._later("host", error)
            return
        self._trouble.well("host")
        if found == self._external:
            return
        self._log("this host is reached otherwise now", device=found.name, public=str(found.public or found.public6))
        self._external = found
        self._marks.hold = self._marks.start = True  # peers are to know

    # -- the rest of a node ---------------------------------------------------------------------------------------

    def _masquerade(self) -> None:
        try:
            if self._own is not None and self._around.masquerade(self._own):
                self._log("masquerading set")
            self._trouble.well("masquerade")
        except WeftError as error:
            self._trouble.say("masquerade", error)

    def _write_file(self) -> None:
        try:
            if self._own is not None:
                self._around.write_file(self._own, self._backend.mtu)
            self._trouble.well("subnet file")
        except WeftError as error:
            self._trouble.say("subnet file", error)

    async def _backed(self, work: Coroutine[Any, Any, None]) -> None:
        """A call of the backend; what fails is tried again as a whole."""
        try:
            await work
            self._trouble.well("backend")
            self._note()
        except WeftError as error:
            self._later("backend", error)

    def _note(self) -> None:
        """Tells of leases that the backend does not follow, each once."""
        notes = dict(self._backend.notes)
        for key, why in notes.items():
            if self._noted.get(key) != why:
                self._log("lease not followed", warning=True, error=why)
        self._noted = notes

    def _later(self, topic: str, error: WeftError) -> None:
        self._marks.pauses[topic] = asyncio.get_running_loop().time() + self._trouble.again(topic, error)
