"""Runs the `expect` steps of a lab: each is tried until it is true or its time is over, and gives a verdict.

`within`: a step may take so many seconds to become true. With `not: true` it must not come true in all that time.
A step that cannot be tried at all (no such address, a capture with gaps) fails either way.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.lab import capture, inside, judge, tables
from weft.lab.names import EndPoint, Names
from weft.lab.ping import ping
from weft.lab.stream import stream
from weft.lab.trace import trace
from weft.lab.transfer import tcp
from weft.model.errors import Kind, WeftError
from weft.model.lab import Heal, Kill, Move, Packets, Ping, Run, Step, Tables, Tcp, Trace
from weft.wire.errors import WireError
from weft.wire.packet import VXLAN_PORTS, Packet, dissect

Show = Callable[[str, str], list[dict[str, str]]]  # (node, table) → rows
Happen = Callable[[Names, Kill | Heal | Move], Names]  # what happens to the lab → its names then
_PAUSE = 0.1  # seconds between two tries
_PING_TIMEOUT = 3.0  # seconds to wait for an answer; one solicitation may be lost on the way, the next follows in 1 s
_SILENCE = 1.0  # seconds in which no answer may come


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one step. `what`: the step in words; `line`: where it stands in the file; `seconds` it took."""

    what: str
    line: int
    ok: bool
    detail: str
    seconds: float


@dataclass(slots=True)
class Runner:
    """Runs steps in one lab. `pcap`: a directory that gets one capture of the underlay for each step.
    `environment`: what commands find in theirs beside ours, by machine."""

    names: Names
    show: Show
    happen: Happen
    pcap: Path | None = None
    environment: Callable[[str], dict[str, str]] = lambda machine: {}
    _number: int = 0

    def run(
        self,
        steps: Sequence[Step],
        *,
        stop_at_failure: bool = False,
        progress: Callable[[Verdict], None] = lambda verdict: None,
    ) -> list[Verdict]:
        """One verdict a step, in order."""
        verdicts = []
        for step in steps:
            self._number += 1
            verdict = self._step(step)
            verdicts.append(verdict)
            progress(verdict)
            if stop_at_failure and not verdict.ok:
                break
        return verdicts

    def _step(self, step: Step) -> Verdict:
        begun = time.monotonic()
        deadline = begun + step.within
        while True:
            tried, detail = True, ""
            try:
                came_true, detail = self._recorded(step)
            except WeftError as error:
                tried, came_true, detail = False, False, str(error)
            ok = tried and came_true != step.negate
            over = time.monotonic() >= deadline
            # the wanted ends at once; the unwanted must stay away for the whole time
            settled = came_true if tried else False
            if settled or over:
                return Verdict(words(step), step.line, ok, detail, time.monotonic() - begun)
            time.sleep(_PAUSE)

    def _recorded(self, step: Step) -> tuple[bool, str]:
        """Tries the step, with a capture beside it if one is wanted; that one judges nothing, so gaps do not matter."""
        if self.pcap is None or isinstance(step.action, Packets | Tables):
            return self._try(step)
        beside = capture.underlay(self.names.topology)
        beside.start()
        try:
            return self._try(step)
        finally:
            self._save(beside.stop())

    def _try(self, step: Step) -> tuple[bool, str]:
        """(whether it came true, the detail)."""
        action = step.action
        if isinstance(action, Ping):
            return self._ping(action, step.negate)
        if isinstance(action, Tcp):
            return self._tcp(action)
        if isinstance(action, Tables):
            return self._tables(action)
        if isinstance(action, Packets):
            return self._packets(action)
        if isinstance(action, Trace):
            return self._trace(action)
        if isinstance(action, Kill | Heal | Move):
            self._happen(action)
            return True, ""
        return self._run(action)

    def _happen(self, what: Kill | Heal | Move) -> None:
        self.names = self.happen(self.names, what)

    def _trace(self, action: Trace) -> tuple[bool, str]:
        source, target = self._ends(action.source, action.to)
        via, arrived = trace(source.netns, source.address(target), target)
        nodes = self.names.intent.nodes
        wanted = tuple(nodes[name].vtep if name in nodes else name for name in action.via)
        return arrived and via == wanted, f"via {', '.join(via) or 'nobody'}{'' if arrived else ', and no further'}"

    def _ping(self, action: Ping, negate: bool) -> tuple[bool, str]:
        source, target = self._ends(action.source, action.to)
        if action.interval:
            return self._stream(action, source, target)
        pinged = ping(
            source.netns,
            source.address(target),
            target,
            count=action.count,
            size=action.size,
            df=action.df,
            timeout=_SILENCE if negate else _PING_TIMEOUT,
        )
        # "must not reach" means that not a single one came through
        enough = pinged.received >= pinged.sent - action.lose
        if action.ttl is not None:
            enough &= all(ttl == action.ttl for ttl in pinged.ttls)
        return (pinged.received > 0 if negate else enough), str(pinged)

    def _stream(self, action: Ping, source: EndPoint, target: str) -> tuple[bool, str]:
        what = action.meanwhile
        pinged = stream(
            source.netns,
            source.address(target),
            target,
            count=action.count,
            interval=action.interval,
            meanwhile=(lambda: self._happen(what)) if what else None,
        )
        return pinged.received >= pinged.sent - action.lose, str(pinged)

    def _tcp(self, action: Tcp) -> tuple[bool, str]:
        source, address = self._ends(action.source, action.to)
        target = self.names.owner(action.to)
        done = tcp((source.netns, source.address(address)), (target.netns, address), size=action.size, port=action.port)
        return done.ok, str(done)

    def _ends(self, source: str, to: str) -> tuple[EndPoint, str]:
        """The source, and the target's first address of a family that the source has."""
        start = self.names.end_point(source)
        targets = self.names.target(to)
        families = {":" in address for address in start.addresses}
        for address in targets:
            if (":" in address) in families:
                return start, address
        raise WeftError(Kind.INVALID, f"{source} and {to} have no address family in common")

    def _tables(self, action: Tables) -> tuple[bool, str]:
        for table, patterns in action.rows.items():
            rows = self.show(action.node, table)
            if wrong := tables.judge(table, patterns, rows, self.names, exactly=action.exactly):
                return False, f"{action.node}: {wrong}"
        return True, ""

    def _run(self, action: Run) -> tuple[bool, str]:
        machine = inside.find(self.names, action.on)
        code, output = inside.run(machine.netns, shlex.split(action.command), env=self.environment(machine.name))
        return code == 0, output if code == 0 else f"exit code {code}: {output}"

    def _packets(self, action: Packets) -> tuple[bool, str]:
        seen = self._capture(action.on)
        seen.start()
        try:
            for step in action.during:
                verdict = self._step(step)
                if not verdict.ok:
                    raise WeftError(Kind.FAILED, f"{verdict.what} failed: {verdict.detail}")
        finally:
            frames = seen.stop()
            self._save(frames)
        seen.check()
        packets = [packet for frame in frames if (packet := self._dissect(frame))]
        for wrong in (
            judge.in_order(action.in_order, packets, self.names),
            judge.seen(action.seen, packets, self.names),
            judge.never(action.never, packets, self.names),
            judge.only(action.only, packets, self.names),
        ):
            if wrong:
                return False, wrong
        return True, f"{len(packets)} packets"

    def _capture(self, on: str) -> capture.Capture:
        """`underlay`, one of its segments, `host`, `host/device`, or `port` and `port/device`."""
        topology = self.names.topology
        if on == "underlay":
            return capture.underlay(topology)
        if on in {lan.segment for lan in topology.lans}:
            return capture.underlay(topology, on)
        name, _, device = on.partition("/")
        usual = "eth0" if name in self.names.intent.ports else "eth1"
        return capture.Capture(self.names.netns(name), {device or usual: name}, outgoing=True)

    def _dissect(self, frame: capture.Frame) -> Packet | None:
        try:
            return dissect(frame.octets, vxlan_ports=VXLAN_PORTS | self.names.vxlan_ports)
        except WireError:  # shorter than an Ethernet header: no pattern can speak of it
            return None

    def _save(self, frames: tuple[capture.Frame, ...]) -> None:
        if self.pcap is not None:
            capture.save(self.pcap / f"step-{self._number:02}.pcapng", frames)


def words(step: Step) -> str:
    """A step in words, for reports."""
    action = step.action
    if isinstance(action, Ping):
        text = f"ping {action.source} → {action.to}"
        text += f", {action.size} octets" if action.size else ""
        text += ", DF" if action.df else ""
        text += f", one in {action.interval:g} s, {action.count} times" if action.interval else ""
        text += f", meanwhile {words(Step(action=action.meanwhile))}" if action.meanwhile else ""
    elif isinstance(action, Tcp):
        text = f"tcp {action.source} → {action.to}, {action.size} octets"
    elif isinstance(action, Tables):
        text = f"tables of {action.node}: {', '.join(action.rows)}"
    elif isinstance(action, Trace):
        text = f"trace {action.source} → {action.to} via {', '.join(action.via) or 'nobody'}"
    elif isinstance(action, Kill | Heal):
        text = f"{'kill' if isinstance(action, Kill) else 'heal'} {action.node}"
    elif isinstance(action, Move):
        text = f"move {action.port} to {action.node}"
    elif isinstance(action, Packets):
        text = f"packets on {action.on} during {'; '.join(words(inner) for inner in action.during)}"
    else:
        text = f"exec {action.on}: {action.command}"
    return f"not: {text}" if step.negate else text
