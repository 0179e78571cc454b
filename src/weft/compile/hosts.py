"""Hosts that are found by MAC and by address: columns (weft.compile.columns) with an index for each.

A row is what a port or a sighting says; who derives says how it is packed and made again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from weft.compile.columns import GONE, NO_MAC, ODD, Columns, K, T, column
from weft.compile.index import Index, Numbers, all_folded, folded, word_within, words_within
from weft.model.address import canonical_ip, canonical_mac, int_to_mac, words_to_ip

V = TypeVar("V", covariant=True)


class Hosts(Columns[K, T], ABC):
    """Rows by group, MAC and address; every answer in the order they came."""

    def __init__(self, names: Numbers[str]) -> None:
        super().__init__(names)
        self._by_mac, self._by_ip = Index(), Index()

    @abstractmethod
    def thing(self, row: int) -> T:
        """What a row says that is not odd."""

    def at(self, row: int) -> T:
        """What a row says."""
        return self.odd[row] if self.macs[row] == ODD else self.thing(row)

    def __iter__(self) -> Iterator[T]:
        """Every thing."""
        return map(self.at, self.alive().tolist())

    def mac_of(self, row: int) -> str:
        if self.macs[row] == ODD:
            return self.odd[row].mac
        return "" if self.macs[row] == NO_MAC else int_to_mac(self.macs[row])

    def ips_of(self, row: int) -> tuple[str, ...]:
        return tuple(words_to_ip(self.high[at], self.low[at]) for at in self.span(row))

    def node_of(self, row: int) -> str:
        return self.names.things[self.nodes[row]]

    def append(self, group: K, node: str, mac: str, ips: tuple[str, ...], rest: bytes | None, thing: T) -> int:
        if not self._by_mac.holds(1):
            self._index_macs()
        if not self._by_ip.holds(len(ips)):
            self._index_ips(len(ips))
        row = super().append(group, node, mac, ips, rest, thing)
        if self.macs[row] < ODD:
            self._by_mac.add(word_within(self.groups[row], self.macs[row]), row)
        for at in self.span(row):
            self._by_ip.add(self._address_key(row, at), at)
        return row

    def remove(self, row: int) -> None:
        """Takes a row away; rows may have other numbers afterwards."""
        if self.macs[row] < ODD:
            self._by_mac.remove(word_within(self.groups[row], self.macs[row]), row)
        for at in self.span(row):
            self._by_ip.remove(self._address_key(row, at), at)
        super().remove(row)
        if self.due:
            self.pack()

    def _address_key(self, row: int, at: int) -> int:
        return word_within(self.groups[row], folded(self.high[at], self.low[at]))

    def with_mac(self, group: K, mac: str) -> list[int]:
        """The rows with a MAC."""
        number = self.numbers.get(group)
        if number is None:
            return []
        word, macs, groups = canonical_mac(mac), self.macs, self.groups
        candidates = self._by_mac.find(word_within(number, word)) if word is not None else ()
        found = [row for row in candidates if macs[row] == word and groups[row] == number]
        if self.odd:
            found += [row for row, host in self._odd_hosts(number) if host.mac == mac]
        return sorted(found) if len(found) > 1 else found

    def with_ip(self, group: K, ip: str) -> list[int]:
        """The rows with an address."""
        number = self.numbers.get(group)
        if number is None:
            return []
        words = canonical_ip(ip)
        candidates = self._by_ip.find(word_within(number, folded(*words))) if words is not None else ()
        found = {self._row_of(at) for at in candidates if (self.high[at], self.low[at]) == words}
        rows = [row for row in found if self.groups[row] == number]
        if self.odd:
            rows += [row for row, host in self._odd_hosts(number) if ip in host.ips]
        return sorted(rows)

    def _row_of(self, at: int) -> int:
        """The row that an address belongs to: the last whose addresses begin there or before."""
        first, low, high = self.first, 0, len(self.first)
        while low < high:
            middle = (low + high) // 2
            if first[middle] <= at:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def _odd_hosts(self, number: int) -> Iterator[tuple[int, T]]:
        return ((row, thing) for row, thing in self.odd.items() if self.groups[row] == number)

    def has_odd(self, group: K) -> bool:
        """Whether a group has things that columns cannot say."""
        number = self.numbers.get(group)
        return number is not None and any(True for _ in self._odd_hosts(number))

    def pack(self) -> npt.NDArray[np.bool_]:
        kept = super().pack()
        self._index_macs()
        self._index_ips(1)
        return kept

    def _index_macs(self) -> None:
        macs = column(self.macs)
        rows = np.flatnonzero((macs < ODD) & (column(self.nodes) != GONE))
        self._by_mac.build(words_within(column(self.groups)[rows], macs[rows]), rows)

    def _index_ips(self, room: int) -> None:
        of = np.repeat(np.arange(len(self.macs)), self.counts())
        at = np.flatnonzero(column(self.nodes)[of] != GONE)
        words = all_folded(column(self.high)[at], column(self.low)[at])
        self._by_ip.build(words_within(column(self.groups)[of[at]], words), at, room)


class Grouped(Mapping[K, V]):
    """The groups that have rows, each as what `of` makes of it."""

    def __init__(self, hosts: Hosts[K, T], of: Callable[[K], V]) -> None:
        self._hosts, self._of = hosts, of

    def __getitem__(self, group: K) -> V:
        if not self._hosts.count(group):
            raise KeyError(group)
        return self._of(group)

    def __iter__(self) -> Iterator[K]:
        return iter(self._hosts.filled())

    def __len__(self) -> int:
        return len(self._hosts.filled())

    def __repr__(self) -> str:
        return repr(dict(self))
