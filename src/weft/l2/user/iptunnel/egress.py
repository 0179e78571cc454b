"""From the TUN device into the underlay: a packet, or the many that one stands for, to the VTEP that has its target.

The outer header says "not ECN-capable": flannel brings no mark to the inner packet (RFC 6040 section 4.3).
"""

from __future__ import annotations

from weft.l2.user import vnet
from weft.l2.user.egress import reason
from weft.l2.user.framing import BARE
from weft.l2.user.iptunnel import answer, header
from weft.l2.user.iptunnel.batch import Batch
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.trains import Outgoing, Refused, outgoing
from weft.l2.user.world import Tally

BUDGET = 64  # packets of one device before others have their turn
_BUFFER = vnet.SIZE + 65536 + 256


class TunnelEgress:
    """Used by one thread."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._buffer = memoryview(bytearray(_BUFFER))
        self._limit = answer.Limit()
        self._batch = Batch()

    def drain(self, state: TunnelState, now: float) -> None:
        """Forwards what waits at the device. Raises OSError when it is gone."""
        try:
            for _ in range(BUDGET):
                size = state.device.read(self._buffer)
                if not size:
                    return
                self.forward(state, size, now)
        finally:
            self.flush()

    def flush(self) -> None:
        """Sends what waits for more."""
        try:
            self._batch.flush()
        except OSError as error:
            self.tally.drops[reason(error)] += self._batch.lost

    def forward(self, state: TunnelState, size: int, now: float) -> None:
        """One packet, which stands in the buffer behind its offload header."""
        tally, name = self.tally, state.tunnel.device
        packet = self._buffer[vnet.SIZE : size]
        tally.port_in[name] += 1
        tally.port_in_octets[name] += len(packet)
        if not header.sound(packet):
            tally.drops["not IPv4"] += 1
            return
        vtep = state.routes.find(header.destination(packet))
        if vtep is None:
            tally.drops["no route"] += 1
            self._answer(state, answer.net_unreachable(packet, state.own), now)
            return
        if not header.forward(packet):
            tally.drops["TTL"] += 1
            self._answer(state, answer.time_exceeded(packet, state.own), now)
            return
        try:
            for each in outgoing(packet, vnet.decode(self._buffer), b"", BARE):
                self._send(state, each, vtep)
        except Refused as refused:
            tally.drops[str(refused)] += 1

    def _send(self, state: TunnelState, out: Outgoing, vtep: str) -> None:
        data = memoryview(bytes(out.frame)) if out.train is None else out.train  # the buffer is the next frame's
        try:
            self._batch.add(state.underlay, vtep, data, out.size)
        except OSError as error:
            self.tally.drops[reason(error)] += self._batch.lost

    def _answer(self, state: TunnelState, packet: bytes | None, now: float) -> None:
        if packet is not None and self._limit.allows(now):
            state.device.write((vnet.PLAIN, packet))
