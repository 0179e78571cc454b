"""Which peers are alive, as this node alone finds: a pure state machine; the clock comes in as `now`, seconds.

Peers are probed every `INTERVAL`. One that has not answered for `MISSES` intervals is dead; the store's word moves
nothing. Three things keep a slip from moving a gateway:
- a peer whose host answers that nobody listens (its agent is being restarted, its datapath goes on) has `GRACE` longer;
- a peer that answers "not ready" (its agent has built nothing yet) stays what it was;
- time in which this node itself could not look is nobody's silence.
A peer never heard of is alive until its time is over; `settled` says that there is a verdict on every one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

INTERVAL = 0.25
MISSES = 3
GRACE = 2.0
_LATE = 2 * INTERVAL  # between two looks: more than this is our own delay


@dataclass(slots=True)
class _Peer:
    deadline: float
    next: float
    alive: bool | None = None


class Liveness:
    """The peers of one node, by name."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}
        self._looked: float | None = None

    @property
    def dead(self) -> frozenset[str]:
        return frozenset(name for name, peer in self._peers.items() if peer.alive is False)

    @property
    def settled(self) -> bool:
        return all(peer.alive is not None for peer in self._peers.values())

    def watch(self, names: Iterable[str], now: float) -> None:
        """Exactly these from now on; those known keep their verdict."""
        wanted = set(names)
        for name in self._peers.keys() - wanted:
            del self._peers[name]
        for name in wanted - self._peers.keys():
            self._peers[name] = _Peer(now + MISSES * INTERVAL, now)

    def look(self, now: float) -> list[str]:
        """Passes verdicts that are due; the peers to probe now."""
        late = now - self._looked - _LATE if self._looked is not None else 0.0
        self._looked = now
        due: list[str] = []
        for name, peer in self._peers.items():
            if late > 0:
                peer.deadline += late + _LATE
            if now >= peer.deadline:
                peer.alive = False
            if now >= peer.next:
                peer.next = now + INTERVAL
                due.append(name)
        return due

    def wait(self, now: float) -> float:
        """Seconds until the next look."""
        times = [peer.next if peer.alive is False else min(peer.next, peer.deadline) for peer in self._peers.values()]
        return min((max(0.0, time - now) for time in times), default=INTERVAL)

    def heard(self, name: str, ready: bool, now: float) -> None:
        """An answer to a probe of ours."""
        if (peer := self._peers.get(name)) is None:
            return
        peer.deadline = max(peer.deadline, now + MISSES * INTERVAL)
        if ready or peer.alive is None:
            peer.alive = True

    def refused(self, name: str, now: float) -> None:
        """The peer's host says that nobody listens there."""
        if (peer := self._peers.get(name)) is None:
            return
        peer.deadline = max(peer.deadline, now + GRACE)
        if peer.alive is None:
            peer.alive = True
