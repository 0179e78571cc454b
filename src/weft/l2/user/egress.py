"""From local ports into tunnels and to other local ports: one frame at a time, however many packets it stands for."""

from __future__ import annotations

import errno

from weft.l2.user import ecn, vnet
from weft.l2.user.batch import Batches, Place
from weft.l2.user.entropy import flow_hash
from weft.l2.user.trains import Outgoing, Refused, outgoing
from weft.l2.user.underlay import SOURCE_PORTS
from weft.l2.user.world import PortState, SegmentState, Tally, World

BUDGET = 64  # frames of one port before others have their turn
_BUFFER = vnet.SIZE + 65536 + 256
_REASONS = {
    errno.EMSGSIZE: "underlay MTU",
    errno.EAGAIN: "queue full",
    errno.ENOBUFS: "queue full",
    errno.EINVAL: "underlay MTU",  # what UDP_SEGMENT says of datagrams that do not fit
}


def reason(error: OSError) -> str:
    """Why the kernel did not take what we sent, as the counters name it."""
    return _REASONS.get(error.errno or 0, "unreachable")


class Egress:
    """Used by one thread."""

    def __init__(self, world: World) -> None:
        self.world, self.tally = world, Tally()
        self._batches = Batches(self._sent)
        self._buffer = memoryview(bytearray(_BUFFER))

    def drain(self, port: PortState, now: float) -> None:
        """Forwards what waits at a port. Raises OSError when the port's device is gone."""
        state = self.world.segments.get(port.port.segment)
        try:
            for _ in range(BUDGET):
                size = port.device.read(self._buffer)
                if not size:
                    return
                if state is not None:
                    self.forward(state, port, size, now)
        finally:
            self._batches.flush()

    def forward(self, state: SegmentState, port: PortState, size: int, now: float) -> None:
        """One frame, which stands in the buffer behind its offload header; what goes into tunnels may wait."""
        name, tally = port.port.name, self.tally
        frame = self._buffer[vnet.SIZE : size]
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
            self.write(other, [self._buffer[:size]])
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
        frame = self._buffer[vnet.SIZE : size]
        longest = state.longest + (4 if frame[12] == 0x81 and not frame[13] else 0)
        try:
            for each in outgoing(frame, vnet.decode(self._buffer), state.vxlan):
                self._send(state, each, vteps, longest)
        except Refused as refused:
            self.tally.drops[str(refused)] += 1

    def _send(self, state: SegmentState, out: Outgoing, vteps: tuple[str, ...], longest: int) -> None:
        frame, train, size = out
        if size - len(state.vxlan) > longest:
            self.tally.drops["oversized"] += 1
            return
        bucket, tos = flow_hash(frame) % SOURCE_PORTS, ecn.mark(frame)
        for vtep in vteps:
            place = Place(state, bucket, vtep, tos)
            if train is None:
                self._batches.put(place, frame)
                continue
            self._batches.settle(place)
            failed = None
            try:
                state.underlay.send_train(bucket, vtep, train, size, tos)
            except OSError as error:
                failed = error
            self._sent(place, 1, len(frame), failed)

    def _sent(self, place: Place, frames: int, octets: int, failed: OSError | None) -> None:
        if failed is not None:
            self.tally.drops[reason(failed)] += frames
            return
        key = place.state.segment.key
        self.tally.tunnel_out[key] += frames
        self.tally.tunnel_out_octets[key] += octets

    def inject(self, state: SegmentState, frame: bytes, vteps: tuple[str, ...]) -> None:
        """A frame of our own into tunnels."""
        self._buffer[: vnet.SIZE] = vnet.PLAIN
        self._buffer[vnet.SIZE : vnet.SIZE + len(frame)] = frame
        self.tunnel(state, vnet.SIZE + len(frame), vteps)
        self._batches.flush()
