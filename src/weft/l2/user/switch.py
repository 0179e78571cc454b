"""The learning switch of one segment: where does a frame go? Sans-IO; time is an argument, in seconds.

A frame comes from a local port or out of a tunnel, and the answer is a `Way`: local ports, VTEPs, maybe a reply to the
port it came from, or the reason for dropping it. The rules (RFC 7348 section 4, and the kernel's bridge):

1. A known unicast address has one way: a static row (control plane) before a learned one.
2. Everything else is BUM: to all other local ports, and to the flood list and the group.
3. Split horizon: what came out of a tunnel never enters one, since every VTEP has its own copy.
4. An isolated port reaches tunnels and ports that are not isolated. In `proxy` tunnels are isolated too: every frame
   between hosts passes a router's port, and no ARP, no ND and, unless the segment learns, no unknown unicast enters a
   tunnel.
5. MACs of local ports are learned always, those behind tunnels only where the segment learns. The newest sighting
   wins; a static row never moves.
6. `suppress`: ARP and ND are answered from neighbor rows if the target is behind a tunnel, and never enter one;
   neither does unicast to an address that nobody has.
7. Where a segment learns and is `proxy`, ARP is relayed (weft.wire.relay): what tunnels bring of it goes to who punts
   it and to nobody else.
8. What concerns a distributed gateway stays at home: frames from and to its MAC, ARP and ND about its addresses.
9. What concerns one link goes nowhere (IEEE 802.1Q, table 8-1: LLDP, LACP, 802.1X, pause), nor does a frame whose
   source can be no host's address. Spanning tree's passes, as through a bridge of the kernel that takes no part in it.

`Switch.epoch` counts up whenever a frame may go another way than before, so that whoever remembers a `Way` knows how
long it holds. A way that leads to a learned MAC ends with its age too, and one that comes from a learned MAC must go on
to refresh it. Ways of ARP and ND are never to be remembered: what they say decides.

A MAC is six octets here, and a VTEP its address as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from weft.l2.user.answer import is_arp, may_be, parties, resolution
from weft.model.address import is_mac
from weft.model.network import Arp

LEARNED_MAX = 65536  # rows that strangers can make us remember, a segment
_NOBODY = bytes(6)
_ONE_LINK = bytes.fromhex("0180c20000")  # and 01 to 0f
SPEAKER = bytes.fromhex("027765667400")  # what is answered to questions of our own goes no further
LOCAL_AGE = 300  # seconds for MACs of local ports where a segment does not learn, as the kernel's bridge


@dataclass(slots=True)
class Entry:
    """A learned MAC: at a local `port` or behind a `vtep`, last seen at `seen`; `sequence` counts its moves."""

    port: str | None
    vtep: str | None
    seen: float
    sequence: int = 0


class Way(NamedTuple):
    """Where a frame goes. `reply`: a frame for the port it came from. `drop`: the reason, as the counters name it.
    `punt`: to the relay alone."""

    ports: tuple[str, ...] = ()
    vteps: tuple[str, ...] = ()
    drop: str = ""
    reply: bytes = b""
    punt: bool = False


class Switch:
    """`static`, `neighbors`, `flood` are the plan's rows; `ports` maps a local port to whether it is isolated.

    `neighbors` may be changed at any time by whoever holds the switch; `learned` is the switch's own. `anycast`: MACs
    and addresses of distributed gateways here, as text.
    """

    def __init__(
        self, *, learning: bool, age: float, arp: Arp, group: str | None = None, anycast: Iterable[str] = ()
    ) -> None:
        self.learning, self.arp, self.group = learning, arp, group
        self.relayed = learning and arp is Arp.PROXY
        self._macs = frozenset(bytes.fromhex(item.replace(":", "")) for item in anycast if is_mac(item))
        self._gateways = frozenset(item for item in anycast if not is_mac(item))
        self.age = age if learning else LOCAL_AGE
        self.ports: dict[str, bool] = {}
        self.static: dict[bytes, str] = {}
        self.neighbors: dict[str, str] = {}
        self.flood: tuple[str, ...] = ()
        self.learned: dict[bytes, Entry] = {}
        self.epoch = 0

    def succeed(self, before: Switch) -> None:
        """Takes over ports, tables and what was learned from a switch with other rules."""
        self.ports, self.static, self.flood = before.ports, before.static, before.flood
        self.neighbors, self.learned = before.neighbors, before.learned
        self.epoch = before.epoch + 1

    # The two ways in

    def from_port(self, port: str, frame: bytes | bytearray | memoryview, now: float) -> Way:
        """A frame of at least 14 octets from a local port."""
        dst, src = bytes(frame[0:6]), bytes(frame[6:12])
        if refused := _refused(dst, src):
            return Way(drop=refused)
        self._learn(src, port, None, now)
        if dst == SPEAKER:
            return Way()
        way = self._way(port, dst, src, frame, now)
        if way.vteps and self._stays(port, dst, src, frame):
            return Way(ports=way.ports, drop="" if way.ports else "not for tunnels")
        return way

    def _way(self, port: str, dst: bytes, src: bytes, frame: bytes | bytearray | memoryview, now: float) -> Way:
        if self.arp is Arp.SUPPRESS and may_be(frame):
            way = self._suppressed(port, dst, src, bytes(frame), now)
            if way is not None:
                return way
        if not dst[0] & 1:
            vtep = self.static.get(dst)
            if vtep is not None:
                return Way(vteps=(vtep,))
            entry = self._alive(dst, now)
            if entry is not None:
                return self._unicast(entry, port)
            if self.arp is not Arp.FLOOD and not self.learning:
                return self._flooded(port, tunnels=False)
        return self._flooded(port, tunnels=True)

    def _stays(self, port: str, dst: bytes, src: bytes, frame: bytes | bytearray | memoryview) -> bool:
        """Whether a frame may not enter a tunnel, for what it is or where it comes from."""
        proxy = self.arp is Arp.PROXY
        if (proxy and self.ports.get(port)) or dst in self._macs or src in self._macs:
            return True
        if not (proxy or self._gateways) or not may_be(frame):
            return False
        addresses = parties(bytes(frame))
        return bool(addresses) if proxy else not self._gateways.isdisjoint(addresses)

    def from_tunnel(self, vtep: str, frame: bytes | bytearray | memoryview, now: float) -> Way:
        """A frame of at least 14 octets that a VTEP sent us."""
        dst, src = bytes(frame[0:6]), bytes(frame[6:12])
        if refused := _refused(dst, src):
            return Way(drop=refused)
        if self.learning:
            self._learn(src, None, vtep, now)
        if self.relayed and is_arp(frame):
            return Way(punt=True)
        open_ones = tuple(port for port, alone in self.ports.items() if not (alone and self.arp is Arp.PROXY))
        if dst[0] & 1:
            return Way(ports=open_ones)
        entry = self._alive(dst, now)
        if entry is not None and entry.port is not None:
            if entry.port in open_ones:
                return Way(ports=(entry.port,))
            return Way(drop="isolated" if entry.port in self.ports else "port is gone")
        if entry is not None or dst in self.static:
            return Way(drop="split horizon")
        return Way(ports=open_ones)

    # Tables

    def _learn(self, mac: bytes, port: str | None, vtep: str | None, now: float) -> None:
        entry = self.learned.get(mac)
        if entry is not None:
            if entry.port != port or entry.vtep != vtep:
                entry.port, entry.vtep = port, vtep
                entry.sequence += 1
                self.epoch += 1
            entry.seen = now
        elif mac not in self.static and len(self.learned) < LEARNED_MAX:
            self.learned[mac] = Entry(port, vtep, now)
            self.epoch += 1

    def _alive(self, mac: bytes, now: float) -> Entry | None:
        entry = self.learned.get(mac)
        return entry if entry is not None and now - entry.seen <= self.age else None

    def place(self, mac: bytes, now: float) -> str | None:
        """The local port where a MAC was learned."""
        entry = self._alive(mac, now)
        return entry.port if entry is not None else None

    def behind(self, mac: bytes, now: float) -> str | None:
        """The VTEP that frames to a MAC go to."""
        if (vtep := self.static.get(mac)) is not None:
            return vtep
        entry = self._alive(mac, now)
        return entry.vtep if entry is not None else None

    def local(self, now: float) -> list[tuple[bytes, str]]:
        """(MAC, port) of all that was learned at local ports."""
        return [(mac, e.port) for mac, e in list(self.learned.items()) if e.port and now - e.seen <= self.age]

    def expire(self, now: float) -> list[tuple[bytes, str]]:
        """Forgets what has not been seen for `age` seconds; (MAC, port) of what was local."""
        return self._remove([mac for mac, entry in list(self.learned.items()) if now - entry.seen > self.age])

    def forget(self, port: str) -> list[tuple[bytes, str]]:
        """A local port is gone, and with it what was learned there: (MAC, port)."""
        return self._remove([mac for mac, entry in list(self.learned.items()) if entry.port == port])

    def _remove(self, macs: list[bytes]) -> list[tuple[bytes, str]]:
        removed = [(mac, entry) for mac in macs if (entry := self.learned.pop(mac, None)) is not None]
        if removed:
            self.epoch += 1  # nothing is called in between: another thread counts as well
        return [(mac, entry.port) for mac, entry in removed if entry.port is not None]

    def declare(self, rows: dict[bytes, str]) -> None:
        """Static rows, new or changed; what was learned of the same MACs is void."""
        self.static.update(rows)
        for mac in rows:
            self.learned.pop(mac, None)
        self.epoch += 1

    def undeclare(self, macs: Iterable[bytes]) -> None:
        """Static rows that are gone; unknown ones are no error."""
        for mac in macs:
            self.static.pop(mac, None)
        self.epoch += 1

    def plug(self, port: str, isolated: bool) -> None:
        """A local port that is here from now on."""
        self.ports = {**self.ports, port: isolated}
        self.epoch += 1

    def unplug(self, port: str) -> list[tuple[bytes, str]]:
        """A local port is gone; (MAC, port) of what was learned there."""
        self.ports = {name: alone for name, alone in self.ports.items() if name != port}
        self.epoch += 1
        return self.forget(port)

    def flood_to(self, vteps: tuple[str, ...]) -> None:
        """The flood list, which replaces the one before."""
        self.flood = vteps
        self.epoch += 1

    # Ways out

    def _unicast(self, entry: Entry, port: str) -> Way:
        if entry.vtep is not None:
            return Way(vteps=(entry.vtep,))
        if entry.port == port:
            return Way(drop="hairpin")
        if entry.port not in self.ports:
            return Way(drop="port is gone")
        if self.ports.get(port) and self.ports[entry.port]:
            return Way(drop="isolated")
        return Way(ports=(entry.port,))

    def _flooded(self, port: str, tunnels: bool) -> Way:
        isolated = self.ports.get(port, False)
        ports = tuple(other for other, alone in self.ports.items() if other != port and not (alone and isolated))
        if not tunnels:
            return Way(ports=ports)
        return Way(ports=ports, vteps=(self.group, *self.flood) if self.group else self.flood)

    def _suppressed(self, port: str, dst: bytes, src: bytes, frame: bytes, now: float) -> Way | None:
        """The way of an ARP or ND frame; None for any other."""
        asked = resolution(frame)
        if asked is None:
            return None
        mac = self.neighbors.get(asked.target) if asked.target else None
        if mac is not None and asked.reply is not None:
            where = bytes.fromhex(mac.replace(":", ""))
            if where in self.static and where != src:
                return Way(reply=asked.reply(mac))
        entry = None if dst[0] & 1 else self._alive(dst, now)
        if entry is not None and entry.port is not None:
            return self._unicast(entry, port)
        return self._flooded(port, tunnels=False)


def _refused(dst: bytes, src: bytes) -> str:
    """Why a frame between these MACs goes nowhere, whatever else is known; "" where it may go."""
    if src[0] & 1:
        return "source is a group"
    if src == _NOBODY:
        return "source is zero"
    return "for one link" if dst[0] & 1 and dst[:5] == _ONE_LINK and 0 < dst[5] < 16 else ""
