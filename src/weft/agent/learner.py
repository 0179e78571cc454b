"""Local learning on a running agent: what the datapath punts goes into the machine, what it says goes into the store.

The agent's own world changes at once, so that its rows do not wait for a store; the store follows in batches. While it
cannot be reached, what is to be written waits, the latest of each record, and learning goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import structlog

from weft.agent.contact import pause
from weft.agent.feed import Feed
from weft.agent.learning import Key, Sightings
from weft.agent.relays import Relays
from weft.agent.sighting import Probe, question, sighting, tentative
from weft.l2.datapath import Datapath, Sought, ToPorts
from weft.model.endpoint import Endpoint
from weft.model.errors import WeftError
from weft.store.records import encode
from weft.store.store import Delete, Put, Store

GATHER = 0.02  # seconds that further records gather after some were written
_BATCH = 100  # records in one transaction; etcd takes 128
_TENTATIVE = 1.5  # seconds after which a host that probed for duplicates has the address, or gave it up
_TENTATIVE_MAX = 256  # such addresses at a time
_REPAIR = 1.0  # seconds between looks at rows that sightings without effect have taken over

log = structlog.get_logger("weft.agent")


class Learner:
    """`wake`: rows may have to change. `mend`: rows were taken over by frames that count for nothing: look again.
    `relays` get what is punted in their segments."""

    def __init__(
        self,
        store: Store,
        feed: Feed,
        node: str,
        datapath: Datapath,
        wake: Callable[[], None],
        mend: Callable[[], None],
        now: Callable[[], float],
        relays: Relays | None = None,
    ) -> None:
        self.machine = Sightings(feed, node)
        self._store, self._feed, self._node, self._datapath = store, feed, node, datapath
        self._wake, self._mend, self._now = wake, mend, now
        self._relays = relays or Relays(node, datapath, wake, now)
        self._waiting: dict[Key, Endpoint | None] = {}
        self._written = asyncio.Event()
        self._due = asyncio.Event()
        self._adopted = False
        self._mended, self._mending = -_REPAIR, False
        self._told = 0
        self._tentative: set[Probe] = set()  # addresses that hosts may have soon

    async def run(self) -> None:
        """Works until cancelled."""
        fd, loop = self._datapath.punt_fd(), asyncio.get_running_loop()
        if fd is not None:
            loop.add_reader(fd, self.hear)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                group.create_task(self._time())
        finally:
            if fd is not None:
                loop.remove_reader(fd)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know, for the status."""
        return self.machine.notes.lines()

    # In

    def hear(self) -> None:
        """Takes what the datapath has punted."""
        now = self._now()
        for punted in self._datapath.punt():
            if self._relays.take(punted) or isinstance(punted, Sought):
                continue
            if seen := sighting(punted):
                self.machine.see(seen, now)
            if (probe := tentative(punted)) and probe not in self._tentative and len(self._tentative) < _TENTATIVE_MAX:
                self._tentative.add(probe)
                asyncio.get_running_loop().call_later(_TENTATIVE, self._ask_tentative, probe)
        if self.machine.contested and not self._mending:
            self._mending = True
            asyncio.get_running_loop().call_later(max(self._mended + _REPAIR - now, 0), self._look_again)
        self._said()

    def _ask_tentative(self, probe: Probe) -> None:
        self._tentative.discard(probe)
        self._ask([probe])

    def _look_again(self) -> None:
        self._mending, self._mended = False, self._now()
        self.machine.contested.clear()
        self._mend()

    def declared(self) -> None:
        """Intent has changed, and the datapath holds the ports it speaks of."""
        self.machine.declared(self._now())
        try:
            self._datapath.watch(self.machine.segments | self._relays.segments)
        except (WeftError, OSError) as error:
            log.warning("no local learning", node=self._node, error=str(error))
        self.hear()

    def loaded(self) -> None:
        """The feed stands on a new snapshot: what is stored of ours is taken over, or set right if we know better."""
        now, stored = self._now(), self._feed.world.sightings.said_by(self._node)
        ours = {(each.key, each.mac): each for each in stored}
        if not self._adopted:
            self._adopted = True
            self.machine.adopt(ours.values(), now)
        for key, mac in ours.keys() - {(each.key, each.mac) for each in self.machine.records()}:
            self._feed.forget(key, mac, self._node)
            self._waiting[key, mac] = None
        for each in self.machine.records():
            if ours.get((each.key, each.mac)) != each:
                self._feed.see(each)
                self._waiting[each.key, each.mac] = each
        if self.machine.segments:
            for each in self._feed.world.endpoints():
                if each.node != self._node:
                    self.machine.other(each, now)
        self.follow()

    def follow(self) -> None:
        """The store has told news: other nodes' records, and ours if others write them."""
        now = self._now()
        arrived, self._feed.arrived = self._feed.arrived, []
        for endpoint in arrived:
            self.machine.other(endpoint, now)
        echoes, self._feed.echoes = self._feed.echoes, {}
        for (key, mac), value in echoes.items():
            ours = self.machine.record(key, mac)
            if (key, mac) not in self._waiting and value != (encode(ours) if ours else None):
                self._waiting[key, mac] = ours
        self._said()

    # Out

    def _said(self) -> None:
        changed = self.machine.taken()
        self._waiting |= changed
        if self._waiting:
            self._written.set()
        if changed:
            self._due.set()
        if changed or self.machine.notes.version != self._told:
            self._told = self.machine.notes.version
            self._wake()

    async def _write(self) -> None:
        failures, told = 0, False
        while True:
            if not self._waiting:
                self._written.clear()
                await self._written.wait()
            batch = dict(list(self._waiting.items())[:_BATCH])
            try:
                await self._store.transact([], [self._record(key, record) for key, record in batch.items()])
            except WeftError as error:
                failures += 1
                if not told:
                    log.warning("endpoints wait for the store", node=self._node, error=str(error))
                told = True
                await asyncio.sleep(pause(failures))
                continue
            failures, told = 0, False
            for key, record in batch.items():
                if self._waiting.get(key, record) == record:
                    self._waiting.pop(key, None)
            await asyncio.sleep(GATHER)

    def _record(self, key: Key, record: Endpoint | None) -> Put | Delete:
        if record is not None:
            return Put(self._feed.keys.endpoint(record), encode(record))
        return Delete(self._feed.keys.endpoint(Endpoint(key=key[0], mac=key[1], node=self._node)))

    # Time

    async def _time(self) -> None:
        while True:
            self._due.clear()
            deadline = self.machine.deadline
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if deadline is None else max(deadline - self._now(), 0.05)):
                    await self._due.wait()
            self.tick()

    def tick(self) -> None:
        """What is due: questions go out, the silent are forgotten."""
        self._ask(self.machine.tick(self._now()))
        self._said()

    def _ask(self, probes: Iterable[Probe]) -> None:
        speakers: dict[object, str] = {}
        for probe in probes:
            try:
                if probe.key not in speakers:
                    speakers[probe.key] = self._datapath.speaker(probe.key)
                frame = question(probe, speakers[probe.key])
                self._datapath.inject(probe.key, frame, ToPorts(probe.port))
            except WeftError as error:  # the port is gone: nobody will answer, which is an answer
                log.debug("cannot ask", node=self._node, mac=probe.mac, ip=probe.ip, error=str(error))
