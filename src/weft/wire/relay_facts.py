"""What a relay has learned: IP → MAC behind a local port or a VTEP, each with an age and the questions that are due.

A fact that was not confirmed for three quarters of the age is asked for, three times, before it is forgotten: rows
made of it may be in use, and the table that leads to its VTEP (the FDB) has the same age. Memory is bounded: so many
facts in all, behind one port and behind one VTEP.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

UNKNOWN = "?"  # the VTEP of what came through some tunnel
TRIES = 3  # questions before a fact is forgotten
_DOUBT = 0.75  # of the age: when the first of them goes out
_SOON = 5.0  # seconds until the first fact that was taken over is asked for
_MOVES = 1.0  # seconds between two moves of one address: two that claim it do not make more of them


class Fact(NamedTuple):
    """`port`, or `vtep` for what is behind a tunnel; neither: on some local port (taken over from a datapath)."""

    mac: str
    port: str = ""
    vtep: str = ""


class Limits(NamedTuple):
    """Facts in all, of one local port, of one VTEP."""

    facts: int = 16384
    port: int = 1024
    vtep: int = 8192


@dataclass(slots=True)
class _Entry:
    fact: Fact
    seen: float
    number: int  # tells it from an earlier entry of the same address
    tries: int = 0
    asked: float = 0.0
    moved: float = float("-inf")


class Facts:
    """`age` in seconds. `changed`: IP → its fact, or None where it was forgotten, since somebody last took it."""

    def __init__(self, age: float, limits: Limits) -> None:
        self.age = age
        self.changed: dict[str, Fact | None] = {}
        self._limits = limits
        self._entries: dict[str, _Entry] = {}
        self._held: dict[tuple[str, str], int] = {}  # (port, VTEP) → facts
        self._due: list[tuple[float, int, str]] = []  # one of each fact, too early where it was confirmed since
        self._number = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[str, Fact]]:
        return ((ip, entry.fact) for ip, entry in self._entries.items())

    def get(self, ip: str) -> Fact | None:
        entry = self._entries.get(ip)
        return entry.fact if entry else None

    def confirmed(self, ip: str) -> float:
        """When the fact was last seen to be true."""
        return self._entries[ip].seen

    def learn(self, ip: str, fact: Fact, now: float) -> bool:
        """Whether there was room, and nobody else claimed the address a moment ago."""
        entry = self._entries.get(ip)
        if entry is None:
            if not self._add(ip, fact, now):
                return False
            self.changed[ip] = fact
            return True
        if entry.fact != fact:
            if entry.moved + _MOVES > now or not self._room(fact, moving=True):
                return False
            self._count(entry.fact, -1)
            self._count(fact, 1)
            entry.moved = now if entry.fact.mac != fact.mac else entry.moved
            entry.fact = fact
            self.changed[ip] = fact
        entry.seen, entry.tries = now, 0
        return True

    def adopt(self, rows: Mapping[str, Fact], now: float) -> None:
        """Facts that were left behind, of unknown age: they count, and are asked for soon, one after another."""
        for number, (ip, fact) in enumerate(rows.items()):
            if ip not in self._entries:
                self._add(ip, fact, now - self.age * _DOUBT + min(_SOON + number / 100, self.age * _DOUBT))

    def forget(self, ip: str) -> None:
        if entry := self._entries.pop(ip, None):
            self._count(entry.fact, -1)
            self.changed[ip] = None

    def keep(self, ports: Collection[str], vteps: Collection[str]) -> None:
        """Forgets what was behind local ports and VTEPs that are gone."""
        there = {"", UNKNOWN, *ports, *vteps}
        for ip in [ip for ip, fact in self if fact.port not in there or fact.vtep not in there]:
            self.forget(ip)

    def taken(self) -> dict[str, Fact | None]:
        changed, self.changed = self.changed, {}
        return changed

    @property
    def deadline(self) -> float | None:
        """When something is due; it may turn out to be later."""
        return self._due[0][0] if self._due else None

    def due(self, now: float, most: int) -> Iterator[tuple[str, Fact]]:
        """At most so many facts that must be asked for now; those that never answered are forgotten."""
        again = min(10.0, self.age / 16)
        while self._due and self._due[0][0] <= now and most:
            _, number, ip = heapq.heappop(self._due)
            entry = self._entries.get(ip)
            if entry is None or entry.number != number:
                continue
            when = entry.asked + again if entry.tries else entry.seen + self.age * _DOUBT
            if when > now:
                heapq.heappush(self._due, (when, number, ip))
            elif entry.tries == TRIES:
                self.forget(ip)
            else:
                entry.tries, entry.asked, most = entry.tries + 1, now, most - 1
                heapq.heappush(self._due, (now + again, number, ip))
                yield ip, entry.fact

    def _add(self, ip: str, fact: Fact, seen: float) -> bool:
        if not self._room(fact):
            return False
        self._number += 1
        self._entries[ip] = _Entry(fact, seen, self._number)
        self._count(fact, 1)
        heapq.heappush(self._due, (seen + self.age * _DOUBT, self._number, ip))
        if len(self._due) > 2 * len(self._entries) + 1024:  # of facts that came and went
            alive = ((when, number, ip) for when, number, ip in self._due if ip in self._entries)
            self._due = [each for each in alive if self._entries[each[2]].number == each[1]]
            heapq.heapify(self._due)
        return True

    def _room(self, fact: Fact, *, moving: bool = False) -> bool:
        most = self._limits.vtep if fact.vtep else self._limits.port if fact.port else self._limits.facts
        held = self._held.get((fact.port, fact.vtep), 0)
        return held < most and (moving or len(self._entries) < self._limits.facts)

    def _count(self, fact: Fact, by: int) -> None:
        place = (fact.port, fact.vtep)
        left = self._held.get(place, 0) + by
        if left:
            self._held[place] = left
        else:
            del self._held[place]
