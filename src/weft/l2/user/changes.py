"""Steps of an apply, made true in the forwarder's world. Each is idempotent, and fails with a WeftError by itself."""

from __future__ import annotations

from weft.l2.user import attach, control, naming
from weft.l2.user.engine import Engine
from weft.l2.user.iptunnel.changes import TunnelChanges
from weft.l2.user.receiver import Receivers, interface
from weft.l2.user.underlay import Underlay
from weft.l2.user.world import PortState, SegmentState
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.netlink import outside
from weft.plan.port import LocalPort
from weft.plan.segment import Segment


class Changes:
    """Used by one thread, which lives in the host's namespace."""

    def __init__(self, cluster: str, engine: Engine, receivers: Receivers) -> None:
        self._cluster, self._engine, self._world = cluster, engine, engine.world
        self._receivers = receivers
        self._tunnels = TunnelChanges(cluster, engine)

    def make(self, step: control.Step) -> None:
        """Raises WeftError, OSError."""
        match step:
            case control.SetSegment(segment, rebuild):
                self._set_segment(segment, rebuild)
            case control.UnsetSegment(key):
                self._unset_segment(key)
            case control.SetPort(port, target):
                self._set_port(port, target)
            case control.UnsetPort(port):
                self._unset_port(port)
            case control.SetRows(key, rows):
                self._segment(key).put(rows.table, rows.rows())
            case control.UnsetRows(key, rows):
                if state := self._world.segments.get(key):
                    state.drop(rows.table, rows.rows())
            case _:
                self._tunnels.make(step)

    def _segment(self, key: SegmentKey) -> SegmentState:
        state = self._world.segments.get(key)
        if state is None:
            raise WeftError(Kind.FAILED, "the segment is not here", where=f"segment {key}")
        return state

    # Segments and the sockets under them

    def _set_segment(self, segment: Segment, rebuild: bool) -> None:
        underlay = self._underlay(segment)
        state = self._world.segments.get(segment.key)
        try:
            if segment.group:
                self._join(underlay, segment)
            with self._engine.still():
                if state is None:
                    self._world.segments[segment.key] = SegmentState(segment, underlay)
                elif rebuild:
                    fresh = SegmentState(segment, underlay)
                    fresh.switch.ports = state.switch.ports
                    self._engine.ingress.forget(state)
                    self._world.segments[segment.key] = fresh
                else:
                    state.state(segment, underlay)
        finally:
            self._tidy()

    def _underlay(self, segment: Segment) -> Underlay:
        place = (segment.vtep, segment.key.udp_port)
        if place not in self._world.underlays:
            underlay = Underlay(*place, lender=outside.lender(), receivers=self._receivers)
            self._world.underlays[place] = underlay
            self._engine.watch_receiver(underlay, underlay.unicast)
        return self._world.underlays[place]

    def _join(self, underlay: Underlay, segment: Segment) -> None:
        if segment.group is None:
            return
        there = segment.group in underlay.groups
        receiver = underlay.join(segment.group, _device(segment))
        if not there:
            self._engine.watch_receiver(underlay, receiver)

    def flaws(self) -> dict[SegmentKey, tuple[str, ...]]:
        """What is wrong with segments: a group whose device does not hold the VTEP address any more."""
        found: dict[SegmentKey, tuple[str, ...]] = {}
        devices: dict[str, int] = {}
        for key, state in self._world.segments.items():
            if state.segment.group is None:
                continue
            try:
                device = devices.setdefault(state.segment.vtep, 0) or _device(state.segment)
            except (WeftError, OSError):
                continue  # the address is nowhere, and may come back
            devices[state.segment.vtep] = device
            if device != state.underlay.device:
                found[key] = (f"group {state.segment.group} is not joined on the device of {state.segment.vtep}",)
        return found

    def _unset_segment(self, key: SegmentKey) -> None:
        for state in [each for each in self._world.ports.values() if each.port.segment == key]:
            self._unset_port(state.port)
        with self._engine.still():
            if gone := self._world.segments.pop(key, None):
                self._engine.ingress.forget(gone)
        self._tidy()

    def _tidy(self) -> None:
        """Closes sockets and leaves groups that no segment uses any more."""
        with self._engine.still():
            for key, underlay in list(self._world.unused()):
                for receiver in (underlay.unicast, *underlay.groups.values()):
                    self._engine.unwatch_receiver(receiver)
                underlay.close()
                del self._world.underlays[key]
            for underlay in self._world.underlays.values():
                for group in set(underlay.groups) - self._world.groups(underlay):
                    self._engine.unwatch_receiver(underlay.groups[group])
                    underlay.leave(group)

    # Ports

    def _set_port(self, port: LocalPort, target: str) -> None:
        self._segment(port.segment)
        made, there = None, self._world.ports.get(port.name)
        if there is not None:
            if (there.port, there.target) == (port, target) and attach.sound(there):
                return
            if naming.stays(there, port, target):
                naming.rename(self._cluster, there, port)
            made = attach.restate(self._cluster, there, port, target)
            self._unplug(there)
            if made is None:
                attach.release(self._cluster, there, port, target)
        self._plug(made or attach.attach(self._cluster, port, target))

    def _unset_port(self, port: LocalPort) -> None:
        there: PortState | None = self._world.ports.get(port.name)
        if there is None:
            attach.remove(self._cluster, port)  # what an earlier forwarder left
            return
        self._unplug(there)
        attach.detach(self._cluster, there)

    def unset_ports(self) -> list[OSError | WeftError]:
        """All of them; returns what went wrong."""
        states = list(self._world.ports.values())
        for each in states:
            self._unplug(each)
        return attach.each_at_once(lambda state: attach.detach(self._cluster, state), states)

    def _plug(self, made: PortState) -> None:
        port = made.port
        with self._engine.still():
            self._world.ports[port.name] = made
            self._segment(port.segment).switch.plug(port.name, port.isolated)
        self._engine.watch_port(made)

    def _unplug(self, there: PortState) -> None:
        """Forgets what was learned there: frames of its hosts may have been lost; who still is there says so."""
        with self._engine.still():
            if not there.gone:
                self._engine.unwatch_port(there)
            del self._world.ports[there.port.name]
            if state := self._world.segments.get(there.port.segment):
                self._world.ears.gone(there.port.segment, state.switch.unplug(there.port.name))


def _device(segment: Segment) -> int:
    """The index of the device that holds a segment's VTEP address. Raises WeftError."""
    return interface(segment.vtep, f"segment {segment.key}", outside.lender())
