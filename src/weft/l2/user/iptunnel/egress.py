"""From the TUN device into the underlay: a packet, or the many that one stands for, to the VTEP that has its target.

The outer header says "not ECN-capable": flannel brings no mark to the inner packet (RFC 6040 section 4.3).
"""

from __future__ import annotations

from weft.l2.user import vnet
from weft.l2.user.framing import BARE
from weft.l2.user.iptunnel import answer, flows, header
from weft.l2.user.iptunnel.batch import Batch
from weft.l2.user.iptunnel.flows import Flow, Flows
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.trains import Refused, big, finished, shaped
from weft.l2.user.tx.bundle import Bundle
from weft.l2.user.tx.egress import reason
from weft.l2.user.tx.split import Cut, seal, sums_of
from weft.l2.user.underlay import Underlay
from weft.l2.user.world import Tally

BUDGET = 64  # packets of one device before others have their turn


class TunnelEgress:
    """Used by one thread."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._bundle: Bundle[tuple[Underlay, str]] = Bundle()
        self._buffer = self._bundle.buffer
        self._limit = answer.Limit()
        self._batch = Batch()
        self._flows = Flows()

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
        self._settle()
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
        key, lookups = flows.key(self._buffer), state.routes.lookups  # routes change in another thread
        flow = self._flows.find(key, size, lookups)
        if flow is not None:
            self._again(state.underlay, flow, packet)
            return
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
        offload = vnet.decode(self._buffer)
        try:
            if big(offload):
                shape = shaped(packet, offload, b"", BARE)
                cut = shape, sums_of(packet, shape)
                self._hold(state.underlay, vtep, cut)
                self._flows.big(key, lookups, size, vtep, cut)
            elif (train := finished(packet, offload, b"", BARE)) is not None:
                self._pass(state.underlay, vtep, train.data.data, train.size)
            else:
                self._pass(state.underlay, vtep, packet, len(packet))
                self._flows.small(key, lookups, size, vtep, offload)
        except Refused as refused:
            tally.drops[str(refused)] += 1

    def _again(self, underlay: Underlay, flow: Flow, packet: memoryview) -> None:
        """A packet about which all is known."""
        header.forward(packet)
        if flow.cut is not None:
            self._hold(underlay, flow.vtep, flow.cut)
            return
        if flow.at:
            seal(self._buffer, flow.start, flow.at, flow.size)
        self._pass(underlay, flow.vtep, packet, len(packet))

    def _hold(self, underlay: Underlay, vtep: str, cut: Cut) -> None:
        """The big packet in the buffer waits for its like."""
        shape, known = cut
        if not self._bundle.takes(shape):
            self._settle()
        self._bundle.add(b"", shape, known, (underlay, vtep))

    def _pass(self, underlay: Underlay, vtep: str, data: memoryview, size: int) -> None:
        """Datagrams of `size` that are finished, behind those that wait."""
        self._settle()
        self._add(underlay, vtep, data, size)

    def _settle(self) -> None:
        """Splits the big packets that wait."""
        for (underlay, vtep), train, size in self._bundle.take():
            self._add(underlay, vtep, train, size)

    def _add(self, underlay: Underlay, vtep: str, data: memoryview, size: int) -> None:
        try:
            self._batch.add(underlay, vtep, data, size)
        except OSError as error:
            self.tally.drops[reason(error)] += self._batch.lost

    def _answer(self, state: TunnelState, packet: bytes | None, now: float) -> None:
        if packet is not None and self._limit.allows(now):
            state.device.write((vnet.PLAIN, packet))
