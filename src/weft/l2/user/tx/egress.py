"""From local ports into tunnels and to other local ports: frames are forwarded, however many packets they stand for."""

from __future__ import annotations

import errno

from weft.l2.user import vnet
from weft.l2.user.switch import Way
from weft.l2.user.trains import Refused, big, finished, shaped
from weft.l2.user.tx.batch import Batches, Place, places
from weft.l2.user.tx.bundle import Bundle
from weft.l2.user.tx.flows import Flow, Flows
from weft.l2.user.tx.split import Cut, seal, sums_of
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


def _longest(state: SegmentState, frame: memoryview) -> int:
    return state.longest + (4 if frame[12] == 0x81 and not frame[13] else 0)


class Egress:
    """Used by one thread."""

    def __init__(self, world: World) -> None:
        self.world, self.tally = world, Tally()
        self._batches = Batches(self._sent)
        self._bundle: Bundle[tuple[tuple[Place, ...], int]] = Bundle()  # tags: where to, and octets of the frame
        self._buffer = self._bundle.buffer
        self._flows = Flows(world)

    def drain(self, port: PortState, now: float) -> None:
        """Forwards what waits at a port. Raises OSError when the port's device is gone."""
        state = self.world.segments.get(port.port.segment)
        read, buffer = port.device.read, self._buffer
        if state is None:
            for _ in range(BUDGET):
                if not read(buffer):
                    return
            return
        known = self._flows.of(port, state)
        frames = octets = 0
        try:
            for _ in range(BUDGET):
                size = read(buffer)
                if not size:
                    return
                flow = known.find(buffer, size, now)
                if flow is None:
                    known.remember(buffer[vnet.SIZE : size], self.forward(state, port, size, now), now)
                else:
                    frames += 1
                    octets += size - vnet.SIZE
                    self._again(flow, size)
        finally:
            if frames:
                self.tally.port_in[port.port.name] += frames
                self.tally.port_in_octets[port.port.name] += octets
            self._flush()

    def _again(self, flow: Flow, size: int) -> None:
        """One frame of a flow whose way is known."""
        buffer = self._buffer
        for other in flow.ports:
            self.write(other, [buffer[:size]])
        if not flow.places:
            return
        if not flow.big:
            if flow.at:
                seal(buffer, flow.start, flow.at, size)
            self._wait(buffer[vnet.SIZE : size], flow.places)
            return
        cut, words = flow.cut, buffer[flow.words_at] >> 4
        if cut is None or size != flow.size or words != flow.words:
            try:
                cut = self._cut(flow.places[0].state, size, flow.offload)
            except Refused as refused:
                self.tally.drops[str(refused)] += 1
                return
            flow.cut, flow.size, flow.words = cut, size, words
        self._hold(cut, size, flow.places)

    def forward(self, state: SegmentState, port: PortState, size: int, now: float) -> Way:
        """One frame, which stands in the buffer behind its offload header; what goes into tunnels may wait."""
        name, tally, buffer = port.port.name, self.tally, self._buffer
        frame = buffer[vnet.SIZE : size]
        if len(frame) < 14:
            tally.drops["short frame"] += 1
            return Way(drop="short frame")
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
        return way

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
        frame, offload = self._buffer[vnet.SIZE : size], vnet.decode(self._buffer)
        try:
            if big(offload):
                self._hold(self._cut(state, size, offload), size, places(state, frame, vteps))
                return
            train = finished(frame, offload, state.vxlan)
            if (len(frame) if train is None else train.size - len(state.vxlan)) > _longest(state, frame):
                raise Refused("oversized")
        except Refused as refused:
            self.tally.drops[str(refused)] += 1
            return
        to = places(state, frame, vteps)
        if train is None:
            self._wait(frame, to)
            return
        self._pass(to)
        for place in to:
            self._train(place, len(frame), train.data.data, train.size)

    def _cut(self, state: SegmentState, size: int, offload: vnet.Offload) -> Cut:
        """How the big frame in the buffer is cut. Raises Refused."""
        front = vnet.SIZE - len(state.vxlan)
        frame = self._buffer[vnet.SIZE : size]
        shape = shaped(frame, offload, state.vxlan)
        if shape.size - len(state.vxlan) > _longest(state, frame):
            raise Refused("oversized")
        return shape, sums_of(self._buffer[front:size], shape)

    def _hold(self, cut: Cut, size: int, to: tuple[Place, ...]) -> None:
        """The big frame in the buffer waits for its like."""
        shape, known = cut
        if not self._bundle.takes(shape):
            self._settle()
        self._bundle.add(to[0].state.vxlan, shape, known, (to, size - vnet.SIZE))

    def _wait(self, frame: memoryview, to: tuple[Place, ...]) -> None:
        """A single datagram waits for its like."""
        if self._bundle.tags:
            self._pass(to)
        for place in to:
            self._batches.put(place, frame)

    def _pass(self, to: tuple[Place, ...]) -> None:
        """Something is sent that may be of a flow whose big frames wait, and keeps its order."""
        if any(waits[0].bucket == to[0].bucket for waits, _ in self._bundle.tags):
            self._settle()

    def _settle(self) -> None:
        """Sends the big frames that wait."""
        for (to, octets), train, size in self._bundle.take():
            for place in to:
                self._train(place, octets, train, size)

    def _train(self, place: Place, octets: int, train: memoryview, size: int) -> None:
        """Datagrams of `size` that a frame of so many octets has become."""
        self._batches.settle(place)
        failed = None
        try:
            place.state.underlay.send_train(place.bucket, place.vtep, train, size, place.tos)
        except OSError as error:
            failed = error
        self._sent(place, 1, octets, failed)

    def _flush(self) -> None:
        if self._bundle.tags:
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
        buffer = self._buffer
        buffer[: vnet.SIZE] = vnet.PLAIN
        buffer[vnet.SIZE : vnet.SIZE + len(frame)] = frame
        self.tunnel(state, vnet.SIZE + len(frame), vteps)
        self._flush()
