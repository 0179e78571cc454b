"""From local ports into tunnels and to other local ports: frames are forwarded, however many packets they stand for."""

from __future__ import annotations

import errno
from typing import NamedTuple

from weft.l2.user import ecn, vnet
from weft.l2.user.batch import Batches, Place
from weft.l2.user.bundle import Bundle, Slots
from weft.l2.user.entropy import flow_hash
from weft.l2.user.trains import Refused, big, finished, shaped
from weft.l2.user.underlay import SOURCE_PORTS
from weft.l2.user.world import PortState, SegmentState, Tally, World

BUDGET = 64  # frames of one port before others have their turn
_REASONS = {
    errno.EMSGSIZE: "underlay MTU",
    errno.EAGAIN: "queue full",
    errno.ENOBUFS: "queue full",
    errno.EINVAL: "underlay MTU",  # what UDP_SEGMENT says of datagrams that do not fit
}


def reason(error: OSError) -> str:
    """Why the kernel did not take what we sent, as the counters name it."""
    return _REASONS.get(error.errno or 0, "unreachable")


class Copies(NamedTuple):
    """Where a big frame goes: a copy to each VTEP."""

    state: SegmentState
    bucket: int
    tos: int
    vteps: tuple[str, ...]


class Egress:
    """Used by one thread."""

    def __init__(self, world: World) -> None:
        self.world, self.tally = world, Tally()
        self._batches = Batches(self._sent)
        self._bundle: Bundle[Copies] = Bundle()
        self._slots = Slots()

    def drain(self, port: PortState, now: float) -> None:
        """Forwards what waits at a port. Raises OSError when the port's device is gone."""
        state = self.world.segments.get(port.port.segment)
        try:
            for _ in range(BUDGET):
                size = port.device.read(self._slots.buffer)
                if not size:
                    return
                if state is not None:
                    self.forward(state, port, size, now)
        finally:
            self._flush()

    def forward(self, state: SegmentState, port: PortState, size: int, now: float) -> None:
        """One frame, which stands in the buffer behind its offload header; what goes into tunnels may wait."""
        name, tally, buffer = port.port.name, self.tally, self._slots.buffer
        frame = buffer[vnet.SIZE : size]
        if len(frame) < 14:
            tally.drops["short frame"] += 1
            return
        tally.port_in[name] += 1
        tally.port_in_octets[name] += len(frame)
        ears = self.world.ears
        if ears.watched and state.segment.key in ears.watched and (port.for_hosts or state.switch.relayed):
            ears.hear(state.segment.key, name, frame, state.switch, now)
        way = state.switch.from_port(name, frame, now)
        if way.drop:
            tally.drops[way.drop] += 1
        if way.reply:
            self.write(name, [vnet.PLAIN, way.reply])
        for other in way.ports:
            self.write(other, [buffer[:size]])
        if way.vteps:
            self.tunnel(state, size, way.vteps)

    def write(self, name: str, parts: list[bytes | memoryview]) -> None:
        """A frame behind its offload header to a local port; counted as dropped where the port does not take it."""
        port = self.world.ports.get(name)
        if port is None:
            return
        try:
            port.device.write(parts)
        except OSError:
            self.tally.drops["port does not take it"] += 1
            return
        self.tally.port_out[name] += 1
        self.tally.port_out_octets[name] += sum(map(len, parts)) - vnet.SIZE

    def tunnel(self, state: SegmentState, size: int, vteps: tuple[str, ...]) -> None:
        """Sends the frame in the buffer to VTEPs."""
        buffer = self._slots.buffer
        frame, offload = buffer[vnet.SIZE : size], vnet.decode(buffer)
        longest = state.longest + (4 if frame[12] == 0x81 and not frame[13] else 0)
        try:
            if big(offload):
                self._bundled(state, frame, offload, vteps, longest)
                return
            self._plain(state, frame, offload, vteps, longest)
        except Refused as refused:
            self.tally.drops[str(refused)] += 1

    def _bundled(
        self, state: SegmentState, frame: memoryview, offload: vnet.Offload, vteps: tuple[str, ...], longest: int
    ) -> None:
        front = state.vxlan
        shape = shaped(frame, offload, front)
        if shape.size - len(front) > longest:
            self.tally.drops["oversized"] += 1
            return
        if not self._bundle.takes(front, shape):
            self._settle()
        copies = Copies(state, flow_hash(frame) % SOURCE_PORTS, ecn.mark(frame), vteps)
        self._bundle.add(frame, front, shape, copies)
        self._slots.keep()

    def _settle(self) -> None:
        """Sends the big frames that wait."""
        for (state, bucket, tos, vteps), octets, train, size in self._bundle.take():
            for vtep in vteps:
                self._train(Place(state, bucket, vtep, tos), octets, train, size)

    def _train(self, place: Place, octets: int, train: memoryview, size: int) -> None:
        """Datagrams of `size` that a frame of so many octets has become."""
        self._batches.settle(place)
        failed = None
        try:
            place.state.underlay.send_train(place.bucket, place.vtep, train, size, place.tos)
        except OSError as error:
            failed = error
        self._sent(place, 1, octets, failed)

    def _plain(
        self, state: SegmentState, frame: memoryview, offload: vnet.Offload, vteps: tuple[str, ...], longest: int
    ) -> None:
        train = finished(frame, offload, state.vxlan)
        if (len(frame) if train is None else train.size - len(state.vxlan)) > longest:
            self.tally.drops["oversized"] += 1
            return
        bucket, tos = flow_hash(frame) % SOURCE_PORTS, ecn.mark(frame)
        if any(waits.bucket == bucket for waits in self._bundle.tags):
            self._settle()  # maybe the same flow, which keeps its order
        for vtep in vteps:
            place = Place(state, bucket, vtep, tos)
            if train is None:
                self._batches.put(place, frame)
            else:
                self._train(place, len(frame), train.data.data, train.size)

    def _flush(self) -> None:
        self._settle()
        self._batches.flush()

    def _sent(self, place: Place, frames: int, octets: int, failed: OSError | None) -> None:
        if failed is not None:
            self.tally.drops[reason(failed)] += frames
            return
        key = place.state.segment.key
        self.tally.tunnel_out[key] += frames
        self.tally.tunnel_out_octets[key] += octets

    def inject(self, state: SegmentState, frame: bytes, vteps: tuple[str, ...]) -> None:
        """A frame of our own into tunnels."""
        buffer = self._slots.buffer
        buffer[: vnet.SIZE] = vnet.PLAIN
        buffer[vnet.SIZE : vnet.SIZE + len(frame)] = frame
        self.tunnel(state, vnet.SIZE + len(frame), vteps)
        self._flush()
