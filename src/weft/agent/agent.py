"""The agent: keeps one node's datapath equal to what the store says, and never acts on half a picture.

Five things wake it: a change in the store, a notification from the datapath, a local host that spoke
(`weft.agent.learner`), the resync timer, a retry that is due.
Whoever wakes it only marks what is dirty; `reconcile` alone applies, and every way leads through it:

    compile the dirty networks → hold what must not be touched → diff against what is → apply → verify → report

Where only endpoints have changed, their rows alone are compiled, and applied against what was last seen.

- Nothing is written before the store's snapshot is complete and the datapath has been observed.
- After an apply of links or ports the datapath is observed again at once (verify); rows alone are verified with the
  next observation, since the kernel has answered for each of them.
- What others changed (`weft.agent.drift`) is put back at once and told, unless it has become a fight.
- A store that cannot be reached changes nothing on the wire: the last good world stays.
- Ending it, in whatever way, leaves the datapath forwarding. `cleanup` alone removes what is ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec
import structlog

from weft import __version__
from weft.agent.alive import Alive
from weft.agent.contact import Contact
from weft.agent.drift import Drift, objects, of
from weft.agent.feed import Feed
from weft.agent.follow import Follower
from weft.agent.hold import Held, as_it_is, held, hold, left_as
from weft.agent.learner import Learner
from weft.agent.pace import RESYNC, Pace
from weft.agent.partial import differences, look, rows_touched
from weft.agent.probes import Probes
from weft.agent.relays import Relays
from weft.agent.report import Reporter, in_charge, objections
from weft.agent.roles import Roles
from weft.agent.status import Status
from weft.agent.touch import count, rows_of, rows_only, tables_of
from weft.compile.node import recompile
from weft.l2.datapath import Applied, Datapath
from weft.model.errors import WeftError
from weft.model.network import SegmentKey
from weft.model.node import Facts
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import Operation
from weft.store.records import Keys
from weft.store.store import Store

_SETTLE = (0.05, 0.5)  # seconds that notifications gather before the datapath is observed; in a fight
_STUCK = 60.0  # seconds of work without coming to rest after which the agent counts as stuck
_TOLD = 10  # objects that a log line names

log = structlog.get_logger("weft.agent")


class Agent:
    """One node's agent. `now` is the monotonic clock, `wall` the one for reports; both in seconds.

    `told` is called with the status after each reconcile, `settled` when it is in sync for the first time with what was
    loaded from the store. `apply_seconds`: how long the last apply took. `contact`:
    whether the store answers.
    """

    def __init__(
        self,
        store: Store,
        node: str,
        datapath: Datapath,
        *,
        cluster: str = "default",
        resync: float = RESYNC,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        told: Callable[[Status], None] = lambda status: None,
        settled: Callable[[], None] = lambda: None,
        probes: Probes | None = None,
    ) -> None:
        self.store, self.node, self.datapath = store, node, datapath
        self.keys = Keys(cluster)
        self.feed = Feed(self.keys, node)
        self.plan = NodePlan(node)
        self.status = Status(node=node, version=__version__, datapath="?")
        self.drift = Drift(now)
        self.apply_seconds = 0.0
        self.now = now
        self._failing: dict[str, str] = {}  # operations that failed the last time, with the reason
        self.contact = Contact(node, now, self._troubled)
        self.pace = Pace(resync)
        self._now, self._told, self._settled_in = now, told, settled
        self._news = True  # loaded, and not in sync with it yet
        self._alive = Alive(store, self.keys, node, self._answered, self._trouble)
        self.roles = Roles(self.feed, node, datapath, probes, now)
        self.seen = Observed()  # when last looked at, or as left by operations that all went well
        self._observed: Observed | None = None  # None: must be observed before anything is applied
        self._stale: set[SegmentKey] = set()  # whose rows others have touched since
        self._settling: asyncio.TimerHandle | None = None
        self._busy: float | None = None  # since when it works, None while it rests
        self._facts: Facts | None = None  # None: must be learned anew
        self._vtep = ""  # the address they were learned for
        self._judged: tuple[int, Facts | None] = (-1, None)
        self._kept = Held()
        self._wake = asyncio.Event()
        self._in_step = False  # the datapath held `_wanted` when we last left it
        self._wanted = self.plan
        self._reporter = Reporter(store, self.keys, node, now, wall, self._trouble)
        self.relays = Relays(node, datapath, self._wake.set, now)
        self.learner = Learner(store, self.feed, node, datapath, self._wake.set, self._look_again, now, self.relays)
        self.follower = Follower(
            store, self.feed, node, loaded=self._loaded, taken=self._changed, trouble=self._trouble
        )
        self._log = log.bind(node=node)

    async def run(self) -> None:
        """Works until cancelled."""
        loop = asyncio.get_running_loop()
        fd = self.datapath.events_fd()
        if fd is not None:
            loop.add_reader(fd, self._readable)
        work = (self.follower.run(), self._alive.run(), self.learner.run(), self.relays.run(), self._reporter.run())
        tasks = [asyncio.create_task(each) for each in work]
        self.roles.follow(self._wake.set)
        try:
            await self._work(tasks)
        finally:
            self.roles.leave()
            if fd is not None:
                loop.remove_reader(fd)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, tasks: list[asyncio.Task[None]]) -> None:
        pause = self.pace.resync
        while True:
            self._busy = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):  # not wait_for, which on Python 3.11 can swallow a cancellation
                    await self._wake.wait()
            self._busy = self._now()
            for task in tasks:
                if task.done():
                    task.result()  # a defect in a background task must not go unseen
            if not self._wake.is_set() or self.pace.left() <= 0:  # time to look at everything again
                self._observed = None
                self._facts = None
            self._wake.clear()
            if not self.feed.loaded or self.feed.applying:
                pause = self.pace.resync
                continue
            if (pause := self.roles.wait()) > 0:
                continue
            looks = self._observed is None
            ok = self.reconcile()
            if ok:
                self.roles.reached(self.plan)
            if looks:
                self.pace.looked(self._now() - self._busy)
            self._reporter.say(self._facts, self.status)
            self._told(self.status)
            if self._news and self.status.in_sync:
                self._news = False
                self._settled_in()
            pause = self.pace.pause(ok and not self.roles.refused)
            if (due := self.drift.due()) is not None:
                pause = min(pause, max(due, _SETTLE[0]))

    def progressing(self) -> bool:
        """Whether it rests, or has not worked for too long: what a watchdog wants to know."""
        return self._busy is None or self._now() - self._busy < _STUCK

    # What wakes it

    def _loaded(self) -> None:
        self._news = True
        self.learner.loaded()
        self._reporter.anew()
        self._answered()
        self._wake.set()

    def _changed(self) -> None:
        self._answered()
        self.learner.follow()
        self._wake.set()

    def _trouble(self, error: WeftError) -> None:
        self.contact.trouble(error)

    def _answered(self) -> None:
        self.contact.answered(self.feed.revision)

    def _troubled(self) -> None:
        """Before the first snapshot the store is all there is to tell of."""
        if not self.feed.loaded:
            error = f"waits for its store, and leaves this host as it is: {self.contact.error}"
            self.status = msgspec.structs.replace(self.status, errors=(error,))
            self._told(self.status)

    def _readable(self) -> None:
        if self.touched() and self._settling is None:
            pause = _SETTLE[1 if self.drift.fights() else 0]
            self._settling = asyncio.get_running_loop().call_later(pause, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._wake.set()

    def touched(self) -> bool:
        """Takes the datapath's notifications; True, and the datapath will be observed, where there were any."""
        events = self.datapath.events()
        if (rows := rows_touched(events)) is None:
            self._observed = None
        else:
            self._stale |= rows
        if any(event.segment is None for event in events):
            self._facts = None  # it can be the underlay that changed
        return bool(events)

    # What it does

    def reconcile(self) -> bool:
        """Makes the datapath equal to the plan; False where something is left to try again.

        Does nothing before the first snapshot of the store has been taken.
        """
        if not self.feed.loaded:
            return True
        try:
            return self._touch() if self._quick() and not self._stale else self._converge()
        except WeftError as error:
            self._observed = None
            self.status = msgspec.structs.replace(self.status, in_sync=False, errors=(str(error),))
            self._log.error("reconcile", error=str(error))
            return error.retry

    def _converge(self) -> bool:
        same = self._quick()
        self._learn_facts()
        kept = self._held()
        dirty = self.feed.taken()
        self.feed.dirty(dirty & kept.networks.keys())  # compiled once they are whole again
        self.plan = recompile(self.plan, self.feed.world, dirty, kept.networks.keys(), kept.routers.keys())
        stale, self._stale = self._stale, set()
        observed, part = look(self.datapath, stale, self._observed)
        fresh = observed is not self._observed
        part = part if same and not dirty else None
        if dirty:
            self.relays.declared(self.plan, self.feed.world)
            self.relays.adopt(observed)
        self.plan = self.relays.into(self.plan)
        wanted = hold(self.plan, observed, kept) if self._in_charge() else as_it_is(self.node, observed)
        operations = self.drift.allowed(differences(wanted, observed, part))
        changed = self.drift.found(observed, part) if operations and fresh else {}
        applied = self._apply(operations)
        repaired = self._repaired(changed, applied)
        failed = [operation for operation, _ in applied.failed]
        left = [f"{operation}: {error}".splitlines()[0] for operation, error in applied.failed]
        if operations and applied.ok and not rows_only(operations):
            self.datapath.events()  # our own echoes; what others did is in the observation that follows
            self._observed = self.datapath.observe()
            failed += self.drift.allowed(diff(wanted, self._observed))
            left += [f"did not come true: {operation}".splitlines()[0] for operation in failed]
            if not failed:
                self._observed = left_as(wanted, self._observed)  # the same rows, once in memory
        elif applied.ok:
            self._observed = left_as(wanted, observed)
            if operations and self.touched():  # while we wrote rows, somebody else did too
                self._wake.set()
        self.seen = self._observed or observed
        if not applied.ok or self.drift.due() is not None:
            self._observed = None
        self._in_step, self._wanted = not left, wanted
        self._learn(dirty)
        self.drift.leave(wanted, failed)
        self._report(wanted, kept, left, len(applied.done), repaired)
        return not left

    def _learn(self, dirty: set[str]) -> None:
        if dirty:
            self.learner.declared()
            self.relays.plugged(self.plan)
        else:
            self.learner.hear()  # an observation tells who is there

    def _quick(self) -> bool:
        """Whether nothing but endpoints, or ports that are like them, has changed since the datapath was left as it was
        wanted."""
        same = self._observed is not None and self._judged == (self.feed.version, self._facts)
        return same and self._in_step and self.feed.settled and self._in_charge() and self.drift.due() is None

    def _in_charge(self) -> bool:
        return in_charge(self.feed, self.node, self._facts)

    def _touch(self) -> bool:
        """As `_converge`, where nothing but endpoints has changed: their rows only."""
        assert self._observed is not None
        kept = self._kept.networks
        self.plan, operations, whole = rows_of(self.plan, self.feed.world, self.feed.taken_moves(), kept)
        if whole:
            self.feed.dirty(whole)
            return self._converge()
        self.plan, more = self.relays.touch(self.plan)
        operations += more
        applied = self._apply([*operations])
        if not applied.ok:
            self._observed = None
            self.feed.dirty({segment.network for segment in self.plan.segments.values()})
            return False
        self._observed = replace(self._observed, **tables_of(operations, self.plan, self._observed))
        self._wanted = replace(self._wanted, **tables_of(operations, self.plan, self._wanted))
        self.drift.leave(self._wanted, ())
        if operations and self.touched():  # while we wrote rows, somebody else did too
            self._wake.set()
        self.status = msgspec.structs.replace(
            self.status,
            revision=max(self.status.revision, self.feed.intended),
            operations=self.status.operations + len(applied.done),
            notes=self._notes(),
            rows=count(self._wanted),
        )
        return True

    def _look_again(self) -> None:
        """Rows of ours may have been taken over: the datapath is observed at the next reconcile."""
        self._observed = None
        self._wake.set()

    def _held(self) -> Held:
        """What must not be touched, judged anew only where the world or our own facts have changed."""
        if (judged := (self.feed.version, self._facts)) != self._judged:
            self._judged = judged
            self._kept = held(self.feed.world, self.feed.broken, self.keys, self.node)
            self.feed.sound = self.feed.version if self._kept.sound else -1
        return self._kept

    def _apply(self, operations: list[Operation]) -> Applied:
        if not operations:
            return Applied()
        begun = self._now()
        applied = self.datapath.apply(operations)
        self.apply_seconds = self._now() - begun
        if applied.done:
            self._log.info("applied", operations=len(applied.done), seconds=round(self.apply_seconds, 4))
        failing = {str(operation).splitlines()[0]: str(error) for operation, error in applied.failed}
        for operation, error in failing.items() - self._failing.items():  # what goes on failing was told of
            self._log.error("operation failed", operation=operation, error=error)
        self._failing = failing
        if failing:
            self.datapath.events()  # what we began ourselves must not wake us before the pause is over
        return applied

    def _repaired(self, changed: dict[str, str], applied: Applied) -> int:
        """Tells of what others changed and was put back; returns how many objects that were."""
        names = sorted(changed.keys() & {name for operation in applied.done for name in objects(operation)})
        touched = len({of(name) for name in names})
        if names:
            what = "; ".join(changed[name] for name in names[:_TOLD]) + (" …" if len(names) > _TOLD else "")
            self._log.warning("drift repaired", objects=touched, what=what)
        for name in self.drift.repaired(names):
            self._log.error("fight", what=name, error="another program keeps changing it; repairs slow down")
        return touched

    def _learn_facts(self) -> None:
        me = self.feed.world.nodes.get(self.node)
        vtep = me.vtep if me else ""
        if self._facts is None or vtep != self._vtep:
            self._facts, self._vtep = self.datapath.facts(self.node, vtep), vtep
        if self.feed.world.facts.get(self.node) != self._facts:
            self.feed.world.facts[self.node] = self._facts
            self.feed.dirty(set(self.feed.world.networks))

    def _report(self, wanted: NodePlan, kept: Held, left: list[str], done: int, drift: int) -> None:
        fights = self.drift.fights()
        waiting = self.drift.due() is not None
        errors = kept.told() + objections(self.feed, self.node, self._facts, wanted) + self.roles.look(wanted)
        self.status = msgspec.structs.replace(
            self.status,
            datapath=self._facts.datapath if self._facts else "?",
            revision=self.feed.revision,
            in_sync=not left and not errors and not waiting,
            errors=(*errors, *left, *(fights if waiting else ())),
            notes=self._notes(),
            drift=self.status.drift + drift,
            operations=self.status.operations + done,
            segments=len(wanted.segments),
            ports=len(wanted.ports),
            routers=len(wanted.routers),
            rows=count(wanted),
        )

    def _notes(self) -> tuple[str, ...]:
        return (*(() if self.drift.due() is not None else self.drift.fights()), *self.learner.notes)
