"""Out of the underlay to the TUN device: trains merged where they may be, each packet judged before it is believed.

A datagram is dropped and counted unless it is an IPv4 packet from a VTEP that a route leads to, and does not claim to
be the device's own.
"""

from __future__ import annotations

import numpy as np

from weft.l2.user import vnet
from weft.l2.user.framing import BARE
from weft.l2.user.iptunnel import answer, header
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.receiver import Arrival
from weft.l2.user.rx.merge import merged
from weft.l2.user.rx.pieces import Pieces, one
from weft.l2.user.rx.stream import BUFFER, LEAD, ROOM, Streams
from weft.l2.user.trains import incoming
from weft.l2.user.tx.egress import reason
from weft.l2.user.world import Tally

BUDGET = 64  # datagrams or trains of one socket before others have their turn
_PACKET = vnet.SIZE + 66000


class TunnelIngress:
    """Used by one thread."""

    def __init__(self) -> None:
        self.tally = Tally()
        whole = memoryview(bytearray(BUFFER))
        self._buffer, self._room = whole[LEAD:], whole[LEAD : LEAD + ROOM]
        self._octets = np.frombuffer(self._buffer, np.uint8)
        self._streams = Streams(whole, BARE)
        self._packet = memoryview(bytearray(_PACKET))
        self._limit = answer.Limit()

    def drain(self, state: TunnelState, now: float) -> None:
        """Forwards what waits at the tunnel's socket."""
        underlay = state.underlay
        for _ in range(BUDGET):
            arrival = underlay.receive(underlay.unicast, self._room)
            if arrival is None:
                return
            self.take(state, arrival, now)

    def take(self, state: TunnelState, arrival: Arrival, now: float) -> None:
        """One datagram or train, which stands in the buffer."""
        octets, size, vtep, _ = arrival
        if vtep not in state.routes.vteps:
            self.tally.drops["not a member"] += -(-octets // max(1, size))
        elif octets <= size:
            self._alone(state, 0, octets, now)
        elif header.tcp(self._buffer) and (frames := self._streams.behind(header.HEADER, octets, size)):
            for pieces in frames:
                self._deliver(state, pieces, now)
        else:
            self._each(state, octets, size, now)

    def _each(self, state: TunnelState, octets: int, size: int, now: float) -> None:
        """A train that is not one stream."""
        for at, length, train, run in incoming(self._octets, octets, size, BARE):
            if train is None or run is None:
                self._alone(state, at, length, now)
            else:
                made = self._packet[: merged(train, run, self._packet)]
                self._deliver(state, one(made, run.end - run.first), now)

    def _alone(self, state: TunnelState, at: int, size: int, now: float) -> None:
        self._deliver(state, Pieces(vnet.PLAIN, self._buffer[at : at + size], [], size, 1), now)

    def _deliver(self, state: TunnelState, pieces: Pieces, now: float) -> None:
        offload, packet, payload, octets, count = pieces
        tally, name = self.tally, state.tunnel.device
        if not header.sound(packet, octets - len(packet)):
            tally.drops["not IPv4"] += count
            return
        if header.source(packet) == state.address:
            tally.drops["our own"] += count
            return
        if not header.forward(packet):
            tally.drops["TTL"] += count
            self._expired(state, packet, now)
            return
        try:
            state.device.write((offload, packet, *payload))
        except OSError:
            tally.drops["port does not take it"] += count
            return
        tally.port_out[name] += count
        tally.port_out_octets[name] += octets

    def _expired(self, state: TunnelState, packet: bytearray | memoryview, now: float) -> None:
        """Tells the sender, back through the tunnel."""
        vtep, told = state.routes.find(header.source(packet)), answer.time_exceeded(packet, state.own)
        if vtep is None or told is None or not self._limit.allows(now):
            return
        try:
            state.underlay.send(0, vtep, (told,), 0)
        except OSError as error:
            self.tally.drops[reason(error)] += 1
