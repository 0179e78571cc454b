"""What ports and tunnels say, kept for the one who watches until it is taken: ARP, ND, and MACs that begin to send.

A MAC begins to send when the switch does not know it at that port: it is new, was silent for too long, or elsewhere.
One that has a static row is never learned by the switch, and is told once a second as long as it sends. Where ARP is
relayed, no MACs are told, and of frames the ARP alone, of routers' ports and of tunnels too. What waits is bounded: a
MAC waits once, and frames beyond the bounds, one source's and that of all, are counted.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable

from weft.l2.user.control import Note, Overheard, Spoken
from weft.l2.user.switch import Switch
from weft.model.network import SegmentKey

_FRAMES, _NOTES = 1024, 4096
_SHARE = 512  # frames of one port or VTEP: one that floods leaves room to the others
_LONGEST = 256  # octets of a frame that are kept: ND with its options
_AGAIN = 1.0  # seconds


class Ears:
    """`hear` and `gone` are called by those who forward, `watch` and `take` by those who serve."""

    def __init__(self) -> None:
        self.watched: frozenset[SegmentKey] = frozenset()
        self.dropped = 0
        self._ready = threading.Condition()
        self._turn = 0
        self._frames: deque[Spoken] = deque()
        self._shares: Counter[str | None] = Counter()  # frames that wait, by source
        self._notes: dict[Note, None] = {}
        self._told: dict[tuple[SegmentKey, bytes], float] = {}

    # From those who forward

    def hear(self, key: SegmentKey, port: str, frame: memoryview, switch: Switch, now: float) -> None:
        """A frame of a local port in a watched segment, before the switch learns from it."""
        if switch.relayed:
            if frame[12] == 0x08 and frame[13] == 0x06:
                self._put(frames=(Spoken(key, port, bytes(frame[:_LONGEST])),))
            return
        mac = bytes(frame[6:12])
        if switch.place(mac, now) != port and not mac[0] & 1 and any(mac):
            self._begins(key, port, mac, now)
        if _resolves(frame):
            self._put(frames=(Spoken(key, port, bytes(frame[:_LONGEST])),))

    def arrived(self, key: SegmentKey, vtep: str, frame: memoryview) -> bool:
        """ARP that a VTEP sent to a segment where it is relayed; False where nobody watches, so that it is lost."""
        if key not in self.watched:
            return False
        self._put(frames=(Spoken(key, None, bytes(frame[:_LONGEST]), vtep),))
        return True

    def gone(self, key: SegmentKey, macs: Iterable[tuple[bytes, str]]) -> None:
        """These (MAC, port) were too long silent, or their port has gone."""
        if key not in self.watched:
            return
        for mac, port in macs:
            self._told.pop((key, mac), None)  # its next frame is a first one
            self._put((Note(key, mac.hex(":"), port, gone=True),))

    def present(self, key: SegmentKey, macs: Iterable[tuple[bytes, str]]) -> None:
        """These (MAC, port) are remembered."""
        if key in self.watched:
            self._put(Note(key, mac.hex(":"), port, fresh=False) for mac, port in macs)

    def _begins(self, key: SegmentKey, port: str, mac: bytes, now: float) -> None:
        before = self._told.get((key, mac))
        if before is not None and now - before < _AGAIN:
            return
        if len(self._told) >= _NOTES:
            self._told.clear()
        self._told[key, mac] = now
        self._put((Note(key, mac.hex(":"), port),))

    def _put(self, notes: Iterable[Note] = (), frames: Iterable[Spoken] = ()) -> None:
        with self._ready:
            for note in notes:
                self._notes.pop(note, None)  # the last of what was said of a MAC comes last
                if len(self._notes) < _NOTES:
                    self._notes[note] = None
                else:
                    self.dropped += 1
            for frame in frames:
                source = frame.port or frame.vtep
                if len(self._frames) < _FRAMES and self._shares[source] < _SHARE:
                    self._frames.append(frame)
                    self._shares[source] += 1
                else:
                    self.dropped += 1
            if self._notes or self._frames:
                self._ready.notify()

    # To the one who watches

    def watch(self, segments: frozenset[SegmentKey]) -> int:
        """From now on these, for the caller, whose turn is returned; whoever watched before is dismissed."""
        with self._ready:
            self._turn += 1
            self.watched = segments
            self._frames.clear()
            self._shares.clear()
            self._notes.clear()
            self._told.clear()
            self._ready.notify_all()
            return self._turn

    def leave(self, turn: int) -> None:
        """Nobody watches any more, unless another one's turn has come."""
        if turn == self._turn:
            self.watch(frozenset())

    def take(self, turn: int, patience: float) -> Overheard | None:
        """What has come, within so many seconds, maybe nothing; None: another one's turn has come."""
        with self._ready:
            self._ready.wait_for(lambda: self._notes or self._frames or turn != self._turn, patience)
            if turn != self._turn:
                return None
            said = Overheard(tuple(self._frames), tuple(self._notes))
            self._frames.clear()
            self._shares.clear()
            self._notes.clear()
            return said


def _resolves(frame: memoryview) -> bool:
    """Untagged ARP, or ND of types 133 to 136 right behind the IPv6 header."""
    first, second = frame[12], frame[13]
    if first == 0x08:
        return second == 0x06
    return first == 0x86 and second == 0xDD and len(frame) > 54 and frame[20] == 58 and 133 <= frame[54] <= 136
