"""Out of tunnels to local ports: trains of datagrams merged where they may be, each judged before it is believed.

A datagram is dropped and counted unless it is VXLAN with the flag of a valid VNI (RFC 7348 section 5), of a VNI that is
here, and from an address that is a member VTEP of that segment. A frame that came out of a tunnel goes to local ports
only.
"""

from __future__ import annotations

import socket

import numpy as np

from weft.l2.user import ecn, vnet
from weft.l2.user.framing import VXLAN
from weft.l2.user.receiver import Arrival
from weft.l2.user.rx.arrive import delivery, uncut
from weft.l2.user.rx.cut import cut
from weft.l2.user.rx.flows import ODD_MARK, FlowCache
from weft.l2.user.rx.merge import merged
from weft.l2.user.rx.pieces import Pieces, one
from weft.l2.user.rx.stream import BUFFER, LEAD, ROOM, Streams
from weft.l2.user.trains import incoming
from weft.l2.user.underlay import Underlay
from weft.l2.user.world import SegmentState, Tally, World
from weft.model.network import SegmentKey

BUDGET = 64  # datagrams or trains of one socket before others have their turn
_FRAME = vnet.SIZE + 66000
_VALID_VNI = 0x08


class Ingress:
    """Used by one thread."""

    def __init__(self, world: World) -> None:
        self.world, self.tally = world, Tally()
        whole = memoryview(bytearray(BUFFER))
        self._buffer, self._room = whole[LEAD:], whole[LEAD : LEAD + ROOM]
        self._octets = np.frombuffer(self._buffer, np.uint8)
        self._frame = memoryview(bytearray(_FRAME))
        self._flows = FlowCache(world, self.tally, self._buffer, Streams(whole))

    def drain(self, underlay: Underlay, receiver: socket.socket, now: float) -> None:
        """Forwards what waits at a socket."""
        for _ in range(BUDGET):
            arrival = underlay.receive(receiver, self._room)
            if arrival is None:
                return
            done = self._flows.arrival(underlay, arrival, now)
            if done < (arrival.octets or 1):
                self.take(underlay, arrival, now, done)

    def forget(self, state: SegmentState) -> None:
        """A segment is gone."""
        self._flows.forget(state)

    def take(self, underlay: Underlay, arrival: Arrival, now: float, done: int = 0) -> None:
        """One datagram or train, which stands in the buffer; of a train of UDP so many octets are `done`."""
        octets, size, vtep, _ = arrival
        if vtep == underlay.vtep:
            self.tally.drops["our own"] += -(-octets // max(1, size)) or 1
        elif octets <= size:
            self._alone(underlay, arrival, 0, octets, now)
        elif done:
            for at in range(done, octets, size):
                self._single(underlay, arrival, at, min(size, octets - at), now)
        elif not self._uncut(underlay, arrival, now):
            self._each(underlay, arrival, now)

    def _each(self, underlay: Underlay, arrival: Arrival, now: float) -> None:
        """A train, whatever it is of."""
        for at, size, train, run in incoming(self._octets, arrival.octets, arrival.size):
            if train is None or run is None:
                self._single(underlay, arrival, at, size, now)
                continue
            count = run.end - run.first
            state = self._segment(underlay, arrival.vtep, at, size, count)
            if state is None:
                continue
            if size - VXLAN.front > state.longest:
                self.tally.drops["oversized"] += count
                continue
            made = self._frame[: merged(train, run, self._frame)]
            self._deliver(state, arrival, one(made, count), now)

    def _segment(self, underlay: Underlay, vtep: str, at: int, size: int, count: int) -> SegmentState | None:
        """The segment of the datagram at this place; None, counted `count` times, where it is not to be believed."""
        drops, data = self.tally.drops, self._buffer
        if size < VXLAN.ip or not data[at] & _VALID_VNI:
            drops["not VXLAN"] += count
            return None
        vni = data[at + 4] << 16 | data[at + 5] << 8 | data[at + 6]
        state = self.world.segments.get(SegmentKey(underlay.port, vni))
        if state is None or state.underlay is not underlay:
            drops["unknown VNI"] += count
            return None
        if vtep not in state.members and not state.open:
            drops["not a member"] += count
            return None
        return state

    def _single(self, underlay: Underlay, arrival: Arrival, at: int, size: int, now: float) -> None:
        """One datagram of a train; its flow may be a remembered one."""
        if arrival.tos & ODD_MARK or not self._flows.datagram(underlay, arrival.vtep, at, size, now):
            self._alone(underlay, arrival, at, size, now)

    def _alone(self, underlay: Underlay, arrival: Arrival, at: int, size: int, now: float) -> None:
        state = self._segment(underlay, arrival.vtep, at, size, 1)
        if state is not None:
            self._whole(state, arrival, self._buffer[at + VXLAN.front : at + size], now)

    def _whole(self, state: SegmentState, arrival: Arrival, frame: memoryview, now: float) -> None:
        """A frame that nothing is merged with."""
        offload = delivery(frame, state.longest)
        if offload is None:
            self.tally.drops["oversized"] += 1
            return
        self._deliver(state, arrival, Pieces(offload, frame, [], len(frame), 1), now)

    def _uncut(self, underlay: Underlay, arrival: Arrival, now: float) -> bool:
        """Whether it was one frame that stands for many UDP datagrams."""
        frame = self._buffer[VXLAN.front : arrival.octets]
        offload = uncut(frame, arrival.size)
        if offload is None:
            return False
        if (state := self._segment(underlay, arrival.vtep, 0, arrival.octets, 1)) is not None:
            for each in cut(frame, offload):
                self._whole(state, arrival, memoryview(each), now)
        return True

    def _deliver(self, state: SegmentState, arrival: Arrival, pieces: Pieces, now: float) -> None:
        tally, key = self.tally, state.segment.key
        offload, header, payload, octets, count = pieces
        if arrival.tos & ecn.MASK and not ecn.arrive(header, arrival.tos):
            tally.drops["congestion"] += count
            return
        tally.tunnel_in[key] += count
        tally.tunnel_in_octets[key] += octets
        epoch = state.switch.epoch
        way = state.switch.from_tunnel(arrival.vtep, header, now)
        if way.drop:
            tally.drops[way.drop] += count
        if way.punt and not self.world.ears.arrived(key, arrival.vtep, memoryview(header)):
            tally.drops["punt"] += count
        for name in way.ports:
            port = self.world.ports.get(name)
            if port is None:
                continue
            try:
                port.device.write((offload, header, *payload))
            except OSError:
                tally.drops["port does not take it"] += count
                continue
            tally.port_out[name] += count
            tally.port_out_octets[name] += octets
        if len(way.ports) == 1 and not arrival.tos & ODD_MARK:
            self._flows.remember(state, epoch, arrival.vtep, header, way.ports[0])
