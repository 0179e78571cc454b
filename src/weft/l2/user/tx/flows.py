"""The way out of a flow's frames so far, so that the next one takes it without asking anybody.

The rules are the switch's and weft.l2.user.tx.egress's; here is remembered what they said, as flow tables of switches
and NICs do. A `Flow` is found by what those rules look at: the offload header and the fields of Ethernet, IP and TCP
or UDP that are the same in all packets of a flow. It holds as long as

- `Switch.epoch` is what it was: ports, tables and what was learned are the same;
- the segment and its switch are the same objects, and so is the port;
- the MACs it depends on are not too old. Each look at a port refreshes the source's, as learning does.

Where one of these fails, the frame goes the long way, which is remembered anew. What the long way has more to do with
than to forward is never remembered: ARP and ND, drops, frames of MACs that the switch does not learn, VLAN tags, UDP
trains. A flow is remembered from its second frame on: of strangers who send each frame from another address only
the first keys are kept, and all of that is bounded. (weft.l2.user.rx.flows does the same for the way in.)
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from weft.l2.user import trains, vnet
from weft.l2.user.answer import may_be
from weft.l2.user.switch import Entry, Way
from weft.l2.user.tx.batch import Place, places
from weft.l2.user.tx.entropy import whole
from weft.l2.user.tx.split import Cut
from weft.l2.user.world import PortState, SegmentState, World

MOST = 2048  # flows of a port
_V4 = Struct("26s4x4s2x8s4s")  # up to TOS; fragment, TTL, protocol; addresses; ports
_V6 = Struct("28s2x38s")  # up to the flow label; next header, hop limit, addresses, ports
_ICMPV6 = Struct("28s2x36s")  # type and code instead of ports
_BIG = 1 << 17

Key = tuple[bytes, ...]


@dataclass(slots=True)
class Flow:
    """Frames of `least` to `most` octets, offload header included, go to local `ports` and into tunnels to `places`.

    `looked`: when the MACs' ages were last seen to be right. A frame that is not `big` has its checksum over all from
    `start`, finished `at`, if that is not 0. A big one is `cut` as the last one was if it has as many octets (`size`)
    and its TCP header, whose length stands at `words_at`, as many `words`.
    """

    epoch: int
    source: Entry
    target: Entry | None
    ports: tuple[str, ...]
    places: tuple[Place, ...]
    least: int
    most: int
    offload: vnet.Offload
    big: bool
    start: int = 0
    at: int = 0
    words_at: int = 0
    looked: float = -1.0
    size: int = 0
    words: int = 0
    cut: Cut | None = None


class Known:
    """The flows of one port."""

    def __init__(self, port: PortState, state: SegmentState) -> None:
        self.port, self.state, self.switch = port, state, state.switch
        self.flows: dict[Key, Flow | None] = {}
        self._key: Key | None = None  # of the frame that was looked for last, where it was not found
        self._epoch = 0

    def find(self, buffer: memoryview, size: int, now: float) -> Flow | None:
        """The flow of the frame in the buffer, if what is remembered of it still holds."""
        switch, key = self.switch, _V4.unpack_from(buffer)
        flow = self.flows.get(key)
        if flow is None:
            self._epoch, self._key = switch.epoch, _key(buffer, key)
            if self._key is key or self._key is None or (flow := self.flows.get(self._key)) is None:
                return None
            key = self._key
        if flow.epoch != switch.epoch or not flow.least <= size <= flow.most:
            self._epoch, self._key = switch.epoch, key
            return None
        if flow.looked != now:
            target = flow.target
            if now - flow.source.seen > switch.age or (target is not None and now - target.seen > switch.age):
                self._epoch, self._key = switch.epoch, key
                return None
            flow.source.seen = flow.looked = now
        return flow

    def remember(self, frame: memoryview, way: Way, now: float) -> None:
        """The way of the frame that was not found, from its flow's second one on."""
        key, flows = self._key, self.flows
        if key is None:
            return
        if key in flows:
            flows[key] = _flow(key, frame, self, way, self._epoch, now)
            return
        if len(flows) >= MOST:
            flows.clear()
        flows[key] = None


class Flows:
    """Used by one thread."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ports: dict[str, Known] = {}

    def of(self, port: PortState, state: SegmentState) -> Known:
        """What is known of a port, which is nothing where it or its segment has been replaced."""
        known = self._ports.get(port.port.name)
        if known is None or known.port is not port or known.state is not state or known.switch is not state.switch:
            self._ports = {n: k for n, k in self._ports.items() if self._world.ports.get(n) is k.port}
            known = self._ports[port.port.name] = Known(port, state)
        return known


def _key(buffer: memoryview, key: Key) -> Key | None:
    """What tells the flow of a frame, for which IPv4's fields are `key`; None for what is never remembered."""
    if buffer[22] == 0x86 and buffer[23] == 0xDD:
        return (_ICMPV6 if buffer[30] == 58 else _V6).unpack_from(buffer)
    if buffer[22] != 0x08 or buffer[23]:
        return None
    return key if whole(buffer[vnet.SIZE :]) else key[:3]


def _flow(key: Key, frame: memoryview, of: Known, way: Way, epoch: int, now: float) -> Flow | None:
    """What to remember of a flow whose frame went this way; None: nothing."""
    state, switch = of.state, of.switch
    offload, ipv6 = vnet.decode(key[0]), len(key) == 2
    least = _V6.size if ipv6 else _V4.size
    big = trains.big(offload)
    if way.drop or may_be(frame) or vnet.SIZE + len(frame) < least:
        return None
    dst, source = bytes(frame[0:6]), switch.learned.get(bytes(frame[6:12]))
    target = None if dst[0] & 1 or dst in switch.static else switch.learned.get(dst)
    if source is None or source.port != of.port.port.name or (target is not None and now - target.seen > switch.age):
        return None
    start = at = 0
    most = _BIG if big else vnet.SIZE + state.longest
    if big:
        if len(key) == 3 or offload.start != (54 if ipv6 else 34):
            return None  # its headers hold more than the key tells
    elif offload.gso != vnet.GSO_NONE:
        return None
    elif offload.flags & vnet.NEEDS_CSUM:
        start, at = vnet.SIZE + offload.start, vnet.SIZE + offload.start + offload.offset
        if offload.start < 14 or at < least:
            return None  # finishing it may change what the way was found by
        least = max(least, at + 2)
    words_at, to = vnet.SIZE + offload.start + 12, places(state, frame, way.vteps)
    return Flow(epoch, source, target, way.ports, to, least, most, offload, big, start, at, words_at)
