"""Out of the underlay to the TUN device: trains merged where they may be, each packet judged before it is believed.

A datagram is dropped and counted unless it is an IPv4 packet from a VTEP that a route leads to, and does not claim to
be the device's own.
"""

from __future__ import annotations

import numpy as np

from weft.l2.user import vnet
from weft.l2.user.egress import reason
from weft.l2.user.framing import BARE
from weft.l2.user.gather import BUFFER, gather
from weft.l2.user.iptunnel import answer, header
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.merge import merged
from weft.l2.user.trains import incoming
from weft.l2.user.underlay import Arrival
from weft.l2.user.world import Tally

BUDGET = 16  # looks at one socket before others have their turn
_PACKET = vnet.SIZE + 66000


class TunnelIngress:
    """Used by one thread."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._buffer = memoryview(bytearray(BUFFER))
        self._octets = np.frombuffer(self._buffer, np.uint8)
        self._packet = memoryview(bytearray(_PACKET))
        self._limit = answer.Limit()

    def drain(self, state: TunnelState, now: float) -> None:
        """Forwards what waits at the tunnel's socket."""
        underlay = state.underlay
        for _ in range(BUDGET):
            found, more = gather(lambda into: underlay.receive(underlay.unicast, into), self._buffer, BARE)
            for at, arrival in found:
                self.take(state, arrival, now, at)
            if not more:
                return

    def take(self, state: TunnelState, arrival: Arrival, now: float, base: int = 0) -> None:
        """One datagram or train, which stands in the buffer from `base`."""
        if arrival.vtep not in state.routes.vteps:
            self.tally.drops["not a member"] += -(-arrival.octets // max(1, arrival.size))
            return
        for at, size, train, run in incoming(self._octets[base:], arrival.octets, arrival.size, BARE):
            if train is None or run is None:
                self._deliver(state, vnet.PLAIN, self._buffer[base + at : base + at + size], 1, now)
            else:
                made = self._packet[: merged(train, run, self._packet)]
                self._deliver(state, made[: vnet.SIZE], made[vnet.SIZE :], run.end - run.first, now)

    def _deliver(
        self, state: TunnelState, offload: bytes | memoryview, packet: memoryview, count: int, now: float
    ) -> None:
        """`packet` stands for `count` datagrams."""
        tally, name = self.tally, state.tunnel.device
        if not header.sound(packet):
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
            state.device.write((offload, packet))
        except OSError:
            tally.drops["port does not take it"] += count
            return
        tally.port_out[name] += count
        tally.port_out_octets[name] += len(packet)

    def _expired(self, state: TunnelState, packet: memoryview, now: float) -> None:
        """Tells the sender, back through the tunnel."""
        vtep, told = state.routes.find(header.source(packet)), answer.time_exceeded(packet, state.own)
        if vtep is None or told is None or not self._limit.allows(now):
            return
        try:
            state.underlay.send(0, vtep, (told,), 0)
        except OSError as error:
            self.tally.drops[reason(error)] += 1
