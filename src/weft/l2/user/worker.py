"""The forwarding of one process: the engine, what changes it, and what is told of it."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import structlog

from weft.l2.user import attach, control
from weft.l2.user.changes import Changes
from weft.l2.user.engine import Engine
from weft.l2.user.forwarding import Tell
from weft.l2.user.inject import Injector
from weft.l2.user.iptunnel import device
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.receiver import Receivers
from weft.l2.user.world import PortState
from weft.model.errors import WeftError
from weft.model.network import SegmentKey
from weft.plan.tables import Table

_LOOK = 1.0  # seconds between two looks whether one who watches in vain is still there
_TOGETHER = 32  # frames, and notes, of one message

log = structlog.get_logger("weft.user")


class Worker:
    """Implements weft.l2.user.forwarding.Forwarding."""

    def __init__(self, cluster: str, receivers: Receivers) -> None:
        self.engine = Engine(self._lost)
        self._world = self.engine.world
        self._changes = Changes(cluster, self.engine, receivers)
        self._inject = Injector(self._world)
        self._tell: Tell = lambda _: None

    @property
    def busy(self) -> bool:
        return bool(self._world.segments or self._world.ports or self._world.tunnels)

    def start(self, tell: Tell) -> None:
        self._tell = tell
        self.engine.start()

    def tick(self, now: float) -> None:
        self.engine.sweep(now)

    def close(self) -> None:
        steps = tuple(control.UnsetTunnel(name) for name in self._world.tunnels)
        wrong = [failure.error() for failure in self.apply(steps).failures]
        for error in (*wrong, *self._changes.unset_ports()):
            log.warning("end", error=str(error))

    def leave(self) -> None:
        """Gives all devices back, before an end in which nothing else is put right."""
        with self.engine.still():
            attach.each_at_once(lambda state: state.device.close(), list(self._world.ports.values()))

    def apply(self, steps: tuple[control.Step, ...]) -> control.Done:
        failures = []
        for index, step in enumerate(steps):
            try:
                self._changes.make(step)
            except (WeftError, OSError) as error:
                failures.append(control.Failure.of(error, index))
        return control.Done(tuple(failures))

    def observe(self) -> control.State:
        world, now = self._world, time.monotonic()
        self._remembered()
        held, ill = [], self._changes.flaws()
        for key, state in world.segments.items():
            ports = [each for each in world.ports.values() if each.port.segment == key]
            flaws = {each.port.name: tuple(_flaws(each)) for each in ports} | {"": ill.get(key, ())}
            held.append(
                control.Held(
                    state.segment,
                    control.wire_tables(state.tables),
                    control.wire_tables(state.learned(now)),
                    tuple(each.port for each in ports),
                    {name: found for name, found in flaws.items() if found},
                )
            )
        return control.State(tuple(held), tuple(_tunnel(state) for state in world.tunnels.values()), (os.getpid(),))

    def count(self) -> control.Counts:
        engine, world = self.engine, self._world
        carriers = (engine.egress, engine.ingress, self._inject, engine.tunnel_egress, engine.tunnel_ingress)
        tallies = [carrier.tally for carrier in carriers]
        for tally in tallies:
            tally.keep({*world.ports, *world.tunnels}, world.segments)

        def total(kind: str) -> Counter[Any]:
            copies = [Counter(dict(getattr(tally, kind))) for tally in tallies]  # others go on to write
            return sum(copies, Counter())

        def columns(kinds: tuple[str, ...]) -> dict[Any, tuple[int, int, int, int]]:
            sums = [total(kind) for kind in kinds]
            names = set().union(*sums)
            return {name: (sums[0][name], sums[1][name], sums[2][name], sums[3][name]) for name in names}

        ports = columns(("port_in", "port_in_octets", "port_out", "port_out_octets"))
        segments = columns(("tunnel_in", "tunnel_in_octets", "tunnel_out", "tunnel_out_octets"))
        return control.Counts(
            {name: counts for name, counts in ports.items() if name in world.ports or name in world.tunnels},
            tuple((key, counts) for key, counts in segments.items() if key in world.segments),
            dict(total("drops") + Counter({"punt": world.ears.dropped})),
        )

    def inject(self, request: control.Inject) -> None:
        self._inject.put(request)

    def watch(self, segments: frozenset[SegmentKey]) -> int:
        turn = self._world.ears.watch(segments)
        self._remembered()
        return turn

    def tell(self, client: socket.socket, turn: int) -> None:
        ears = self._world.ears
        try:
            while (said := ears.take(turn, _LOOK)) is not None:
                for part in _parts(said):
                    client.sendall(control.pack(part))
                if not said.frames and not said.notes and control.ended(client):
                    return
        finally:
            ears.leave(turn)

    def _remembered(self) -> None:
        """Tells the one who watches which local MACs are there already."""
        world, now = self._world, time.monotonic()
        for key in world.ears.watched & world.segments.keys():
            switch = world.segments[key].switch
            if not switch.relayed:
                world.ears.present(key, switch.local(now))

    def _lost(self, state: PortState | TunnelState) -> None:
        """The device of a port or a tunnel is gone."""
        if isinstance(state, PortState):
            self._tell(control.Alert(f"port {state.port.name}: {state.gone}", state.port.segment))
        else:
            self._tell(control.Alert(f"ip tunnel {state.tunnel.device}: {state.gone}", None))


def _parts(said: control.Overheard) -> Iterator[control.Overheard]:
    """Messages of 16 KiB at most (weft.l2.user.front.hearing)."""
    for at in range(0, max(len(said.frames), len(said.notes)), _TOGETHER):
        yield control.Overheard(said.frames[at : at + _TOGETHER], said.notes[at : at + _TOGETHER])


def _tunnel(state: TunnelState) -> control.HeldTunnel:
    try:
        found = device.flaws(state)
    except (WeftError, OSError) as error:
        found = (str(error),)
    return control.HeldTunnel(state.tunnel, control.WireRows(Table.ROUTES, state.routes.rows().tobytes()), found)


def _flaws(state: PortState) -> list[str]:
    try:
        return attach.flaws(state)
    except (WeftError, OSError) as error:
        return [str(error)]
