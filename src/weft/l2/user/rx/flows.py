"""What the slow path found, kept by flow: what comes again goes the same way without being asked all of it again.

A flow here is what one host sends to another inside of one segment: VTEP, VXLAN header, MACs, IP version, traffic class
and protocol, addresses; no fragments, no options, to one local port. All that
weft.l2.user.rx.ingress asks of a datagram is answered by these and by tables, but for its length, its checksum (is it
unfinished?) and the outer mark. Those are looked at each time; what is not as usual is left to the slow path.

A flow is void when its segment, the segment's members or its port are others, when the switch says so (`Switch.epoch`)
and as long as the destination has been silent for too long; it refreshes its source as the slow path would. Only what
was believed and had one way is remembered, so strangers put nothing in here; and there is room for FLOWS.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weft.l2.user import vnet
from weft.l2.user.checksums import MODULUS, total
from weft.l2.user.device import Buffers
from weft.l2.user.framing import VXLAN
from weft.l2.user.receiver import Arrival
from weft.l2.user.rx.stream import Streams
from weft.l2.user.switch import Entry
from weft.l2.user.underlay import Underlay
from weft.l2.user.vnet import Offload
from weft.l2.user.world import PortState, SegmentState, Tally, World

FLOWS = 4096
ODD_MARK = 1  # ECT(1) and CE change inner packets (weft.l2.user.ecn)
_TCP, _UDP, _ICMPV6 = 6, 17, 58
_CHECKSUM = {_TCP: 16, _UDP: 6}
_IP = VXLAN.ip
_IPV4, _IPV6 = 0x45, 6
_HEADERS = 14 + 40 + 20
_Fields = Callable[[bytes | memoryview, int], tuple[int, ...]]
# VXLAN header, MACs, ethertype and the IP header's first two octets; then without lengths, identification, TTL and
# checksum of IPv4 (so: fragment, protocol, addresses), without flow label, length and hop limit of IPv6.
_KEYS: dict[int, _Fields] = {
    4: struct.Struct("=QQQ4xHxB2xQ").unpack_from,
    6: struct.Struct("=QQQ4xBxQQQQ").unpack_from,
}


def _finished(_data: bytes | memoryview, _at: int) -> tuple[int, int]:
    """Fields of what has no checksum that others finish."""
    return 0, 0


class _Kind:
    """Datagrams of TCP, of UDP, or (None) of another protocol. `key` reads what names a flow, `fields` length and
    checksum. `tcp`: where TCP's header starts, 0 for others. `rest`: what the pseudo header's sum is made of beside
    addresses and length; `least`: octets that are looked at; `unfinished`: the offload header for such a checksum."""

    def __init__(self, version: int, protocol: int | None) -> None:
        upper, length = (_IP + 20, _IP + 2) if version == 4 else (_IP + 40, _IP + 4)
        self.addresses = slice(_IP + (12 if version == 4 else 8), upper)
        if protocol is None:
            self.key, self.tcp, self.least, self.rest = _KEYS[version], 0, upper, 0
            self.fields: _Fields = _finished
            self.unfinished = vnet.PLAIN
            return
        checksum = _CHECKSUM[protocol]
        place = upper + checksum
        self.key, self.tcp, self.least = _KEYS[version], upper if protocol == _TCP else 0, place + 2
        self.fields = struct.Struct(f">{length}xH{place - length - 2}xH").unpack_from
        self.rest = protocol - (20 if version == 4 else 0)  # IPv4's length is that of its header, too
        self.unfinished = Offload(vnet.NEEDS_CSUM, start=upper - VXLAN.front, offset=checksum).encode()


_KINDS = {(version, protocol): _Kind(version, protocol) for version in _KEYS for protocol in (*_CHECKSUM, None)}


def _kind(data: bytes) -> _Kind | None:
    """Of a datagram; None where no flow is to be remembered of it."""
    ethertype = data[_IP - 2 : _IP]
    if ethertype == b"\x08\x00" and len(data) >= _IP + 28 and data[_IP] == _IPV4:
        fragment = data[_IP + 6] & 0x3F or data[_IP + 7]
        return None if fragment else _KINDS.get((4, data[_IP + 9]), _KINDS[4, None])
    if ethertype == b"\x86\xdd" and len(data) >= _IP + 48 and data[_IP] >> 4 == _IPV6:
        return _KINDS.get((6, None if data[_IP + 6] == _ICMPV6 else data[_IP + 6]))
    return None


@dataclass(frozen=True, slots=True)
class Flow:
    """Datagrams of up to `longest` octets from `vtep`, one of `members`, go to `port`; `epoch`: of the switch that said
    so. `sum`: of the pseudo header with no length."""

    kind: _Kind
    state: SegmentState
    vtep: str
    members: frozenset[str]
    epoch: int
    port: PortState
    source: Entry | None
    destination: Entry
    age: float
    longest: int
    sum: int


class FlowCache:
    """Of one Ingress; `data`: its buffer, from the first datagram on."""

    def __init__(self, world: World, tally: Tally, data: memoryview, streams: Streams) -> None:
        self._world, self._tally, self._data, self._streams = world, tally, data, streams
        self._flows: dict[tuple[int, ...], Flow] = {}

    def arrival(self, underlay: Underlay, arrival: Arrival, now: float) -> int:
        """How many octets of what came, from its beginning on, went their remembered way."""
        octets, size, vtep, tos = arrival
        if tos & ODD_MARK:
            return 0
        if octets <= size:
            return octets if self.datagram(underlay, vtep, 0, octets, now) else 0
        flow = self._find(underlay, vtep, 0, now)
        if flow is None:
            return 0
        if not flow.kind.tcp:
            return self._alike(flow, octets, size, now)
        frames = self._streams.behind(flow.kind.tcp, octets, size) if size <= flow.longest else ()
        for offload, header, payload, whole, count in frames:
            self._give(flow, [(offload, header, *payload)], whole, count, now)
        return octets if frames else 0

    def datagram(self, underlay: Underlay, vtep: str, at: int, size: int, now: float) -> bool:
        """Whether a datagram whose mark changes nothing went its remembered way."""
        flow = self._find(underlay, vtep, at, now)
        if flow is None or not flow.kind.least <= size <= flow.longest:
            return False
        offload = flow.kind.unfinished if self._unfinished(flow, at) else vnet.PLAIN
        self._give(flow, [(offload, self._data[at + VXLAN.front : at + size])], size - VXLAN.front, 1, now)
        return True

    def _alike(self, flow: Flow, octets: int, size: int, now: float) -> int:
        """Those datagrams at the beginning of a train of UDP that are of one flow, each as a frame of its own."""
        if self._unfinished(flow, 0):
            return 0  # nobody may have cut it (weft.l2.user.rx.arrive)
        data, kind, packets, at = self._data, flow.kind, [], 0
        key = kind.key(data, 0)
        while at < octets and kind.key(data, at) == key:
            end = min(at + size, octets)
            if not kind.least <= end - at <= flow.longest:
                break
            offload = kind.unfinished if self._unfinished(flow, at) else vnet.PLAIN
            packets.append((offload, data[at + VXLAN.front : end]))
            at = end
        if packets:
            self._give(flow, packets, at - len(packets) * VXLAN.front, 1, now)
        return at

    def _unfinished(self, flow: Flow, at: int) -> bool:
        length, stands = flow.kind.fields(self._data, at)
        return stands != 0 and (flow.sum + length - stands) % MODULUS == 0

    def _find(self, underlay: Underlay, vtep: str, at: int, now: float) -> Flow | None:
        data = self._data
        version = data[at + _IP]
        if version == _IPV4:
            flow = self._flows.get(_KEYS[4](data, at))
        elif version >> 4 == _IPV6:
            flow = self._flows.get(_KEYS[6](data, at))
        else:
            return None
        if flow is None or flow.vtep != vtep:
            return None
        state = flow.state
        if (
            state.switch.epoch == flow.epoch
            and state.members is flow.members
            and state.underlay is underlay
            and now - flow.destination.seen <= flow.age
            and self._world.segments.get(state.segment.key) is state
            and self._world.ports.get(flow.port.port.name) is flow.port
        ):
            return flow
        return None

    def _give(self, flow: Flow, packets: Sequence[Buffers], octets: int, each: int, now: float) -> None:
        """Frames of a flow, offload headers first, of `octets` together without these; each stands for so many
        datagrams."""
        tally, key, name, write = self._tally, flow.state.segment.key, flow.port.port.name, flow.port.device.write
        if flow.source is not None:
            flow.source.seen = now
        taken = len(packets)
        tally.tunnel_in[key] += taken * each
        tally.tunnel_in_octets[key] += octets
        for packet in packets:
            try:
                write(packet)
            except OSError:
                tally.drops["port does not take it"] += each
                taken -= 1
                octets -= sum(map(len, packet)) - vnet.SIZE
        if taken:
            tally.port_out[name] += taken * each
            tally.port_out_octets[name] += octets

    def forget(self, state: SegmentState) -> None:
        """The flows of a segment, which they would keep in memory."""
        self._flows = {key: flow for key, flow in self._flows.items() if flow.state is not state}

    def remember(self, state: SegmentState, epoch: int, vtep: str, frame: bytearray | memoryview, name: str) -> None:
        """A frame that came from a VTEP with a mark that changes nothing went to the port `name` alone; `epoch`: the
        switch's, before it was asked. Tables may have changed since, in another thread."""
        switch, members, port = state.switch, state.members, self._world.ports.get(name)
        destination = switch.learned.get(bytes(frame[:6]))
        if port is None or destination is None or destination.port != name:
            return
        if vtep not in members and not state.open:
            return
        datagram = state.vxlan + bytes(frame[:_HEADERS])
        kind = _kind(datagram)
        if kind is None:
            return
        if len(self._flows) >= FLOWS:
            self._flows.clear()
        self._flows[kind.key(datagram, 0)] = Flow(
            kind=kind,
            state=state,
            vtep=vtep,
            members=members,
            epoch=epoch,
            port=port,
            source=switch.learned.get(bytes(frame[6:12])) if switch.learning else None,
            destination=destination,
            age=switch.age,
            longest=state.longest + VXLAN.front,
            sum=total(datagram[kind.addresses]) + kind.rest,
        )
