"""Hosts as columns: who has which MAC and which IP addresses, in which group, on which node; about 80 octets each.

A row is a host. Rows are appended, and one that goes is marked (`GONE` for its node) until a fifth of all have gone and
the columns are packed; so a change costs what it changes, and now and then a little of the whole. A row's addresses,
and its rest, reach from where its own begin to where those of the next row begin.

    groups, nodes       numbers of a network or segment, and of a node's name
    macs                the MAC as an integer; NO_MAC; ODD for a thing that is kept as it is
    first, high, low    where a row's addresses begin; the addresses, two words each (weft.model.address)
    begin, rest         where its rest begins; what there is to say beyond the columns, a few packed octets

Odd is what columns cannot say again to the letter: a MAC or an address that is not written as weft writes it.

Whoever reads columns as arrays lets go of them before the next change: an array that is lent out cannot grow.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from weft.compile.index import Numbers, Words
from weft.model.address import canonical_ip, canonical_mac


class Host(Protocol):
    """What ports and sightings have in common."""

    @property
    def mac(self) -> str: ...

    @property
    def ips(self) -> tuple[str, ...]: ...


K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Host)
Rows = npt.NDArray[np.int64]

NO_MAC, ODD = (1 << 64) - 1, (1 << 64) - 2
GONE = 0xFFFFFFFF
_SLACK = 64  # rows that may have gone, or have come since rows were last grouped, whatever the size
_NONE, _ORDER = np.empty(0, np.int64), np.empty(0, np.uint32)


def column(values: array[int]) -> npt.NDArray[Any]:
    """A column as an array, not copied."""
    dtype = np.dtype(f"u{values.itemsize}")
    return np.frombuffer(values, dtype) if values else np.empty(0, dtype)


class Columns(Generic[K, T]):
    """Rows in groups that are named by keys of type K. `names`: of nodes; `odd`: row → the thing itself."""

    def __init__(self, names: Numbers[str]) -> None:
        self.names = names
        self.numbers: Numbers[K] = Numbers()
        self.groups, self.nodes, self.first, self.begin = array("I"), array("I"), array("I"), array("I")
        self.macs, self.high, self.low = array("Q"), array("Q"), array("Q")
        self.rest = bytearray()
        self.odd: dict[int, T] = {}
        self._live: list[int] = []  # rows by group
        self._gone = 0
        self._order: npt.NDArray[np.uint32] = _ORDER  # the first so many rows, group by group
        self._starts: Rows = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self.macs) - self._gone

    def count(self, group: K) -> int:
        number = self.numbers.get(group)
        return self._live[number] if number is not None else 0

    def filled(self) -> list[K]:
        """Groups that have rows."""
        return [self.numbers.things[number] for number, live in enumerate(self._live) if live]

    # One row

    def append(self, group: K, node: str, mac: str, ips: tuple[str, ...], rest: bytes | None, thing: T) -> int:
        """A new row; the thing itself where it has no packed `rest` or is odd."""
        number = self.numbers.of(group)
        if number == len(self._live):
            self._live.append(0)
        word = NO_MAC if mac == "" else canonical_mac(mac)
        words = [canonical_ip(ip) for ip in ips]
        row = len(self.macs)
        if word is None or rest is None or None in words:
            word, words, rest = ODD, [], b""
            self.odd[row] = thing
        self.groups.append(number)
        self.nodes.append(self.names.of(node))
        self.macs.append(word)
        self.first.append(len(self.high))
        self.begin.append(len(self.rest))
        self.rest += rest
        for high, low in filter(None, words):
            self.high.append(high)
            self.low.append(low)
        self._live[number] += 1
        return row

    def remove(self, row: int) -> None:
        """Marks a row as gone; whoever calls packs when it is `due`."""
        self.odd.pop(row, None)
        self.nodes[row] = GONE
        self._live[self.groups[row]] -= 1
        self._gone += 1

    @property
    def due(self) -> bool:
        """Whether so many rows have gone that the columns should be packed."""
        return self._gone > len(self.macs) // 5 + _SLACK

    def span(self, row: int) -> range:
        """Where the addresses of a row stand."""
        return range(self.first[row], self.first[row + 1] if row + 1 < len(self.first) else len(self.high))

    def packed(self, row: int) -> bytes:
        """The rest of a row."""
        end = self.begin[row + 1] if row + 1 < len(self.begin) else len(self.rest)
        return bytes(self.rest[self.begin[row] : end])

    # Whole columns

    def alive(self) -> Rows:
        """Every row that is there, in the order they came."""
        return np.flatnonzero(column(self.nodes) != GONE)

    def rows(self, group: K) -> Rows:
        """The rows of a group, in the order they came."""
        number = self.numbers.get(group)
        if number is None or not self._live[number]:
            return _NONE
        if len(self.macs) - len(self._order) > len(self.macs) // 8 + _SLACK:
            self._regroup()
        known = self._starts[number : number + 2]
        grouped = self._order[known[0] : known[1]].astype(np.int64) if len(known) == 2 else _NONE
        later = np.flatnonzero(column(self.groups)[len(self._order) :] == number) + len(self._order)
        found = np.concatenate((grouped, later))
        alive: Rows = found[column(self.nodes)[found] != GONE]
        return alive

    def on(self, group: K, node: str) -> list[int]:
        """The rows of a group on a node."""
        rows, number = self.rows(group), self.names.get(node)
        found: list[int] = rows[column(self.nodes)[rows] == number].tolist() if number is not None else []
        return found

    def groups_on(self, node: str) -> list[K]:
        """The groups that have rows on a node."""
        number = self.names.get(node)
        found = np.unique(column(self.groups)[column(self.nodes) == number]).tolist() if number is not None else []
        return [self.numbers.things[group] for group in found]

    def counts(self) -> Rows:
        """How many addresses each row has."""
        return _lengths(self.first, len(self.high))

    def addresses(self, rows: Rows) -> tuple[Rows, Words, Words]:
        """Of these rows, for each of their addresses: (place in `rows`, high word, low word)."""
        counts = self.counts()[rows]
        of = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
        at = column(self.first)[rows].astype(np.int64)[of] + within
        return of, column(self.high)[at], column(self.low)[at]

    def drop(self, group: K) -> None:
        """Takes a group's rows away, and packs."""
        rows = self.rows(group)
        if len(rows):
            column(self.nodes)[rows] = GONE
            self._live[self.numbers.of(group)] = 0
            self.pack()

    def _regroup(self) -> None:
        groups = column(self.groups)
        self._order = np.argsort(groups, kind="stable").astype(np.uint32)
        self._starts = np.concatenate(([0], np.cumsum(np.bincount(groups, minlength=len(self._live)))))

    def pack(self) -> npt.NDArray[np.bool_]:
        """Leaves out the rows that are gone; which of them stay."""
        kept: npt.NDArray[np.bool_] = column(self.nodes) != GONE
        places = np.cumsum(kept) - 1
        self.odd = {int(places[row]): thing for row, thing in self.odd.items() if kept[row]}
        spans = self.counts()
        lengths = _lengths(self.begin, len(self.rest))
        chosen = np.repeat(kept, spans)
        self.high, self.low = chosen_of(self.high, chosen), chosen_of(self.low, chosen)
        self.rest = bytearray(np.frombuffer(bytes(self.rest), np.uint8)[np.repeat(kept, lengths)].tobytes())
        self.first, self.begin = (
            array("I", (np.cumsum(each[kept]) - each[kept]).astype(np.uint32).tobytes()) for each in (spans, lengths)
        )
        self.groups, self.nodes, self.macs = (chosen_of(each, kept) for each in (self.groups, self.nodes, self.macs))
        self._gone, self._order, self._starts = 0, _ORDER, np.zeros(1, np.int64)
        return kept


def _lengths(begins: array[int], end: int) -> Rows:
    edges = np.append(column(begins), end).astype(np.int64)
    return edges[1:] - edges[:-1]


def chosen_of(values: array[int], kept: npt.NDArray[np.bool_]) -> array[int]:
    """Of a column these entries."""
    return array(values.typecode, column(values)[kept].tobytes())
