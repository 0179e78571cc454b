"""The routes of a tunnel: prefix → VTEP, the longest prefix first (RFC 1812 section 5.2.4.3).

One dictionary for each prefix length, so that a packet costs a look-up per length in use; flannel has one. Rows are put
and dropped one by one while packets are looked up by another thread: each is an atomic step, and no packet in between
finds less than what stood before or stands after.
"""

from __future__ import annotations

import numpy as np

from weft.model.address import ip_to_words, words_to_ip
from weft.plan import tables
from weft.plan.tables import Rows, Table

_MAPPED = 96  # bits before an IPv4 address in the tables' form
_IPV4 = 0xFFFF << 32

Lookups = tuple[tuple[int, dict[int, str]], ...]


class Routes:
    """Changed by one thread, read by others. `lookups` is another object whenever something has changed."""

    def __init__(self) -> None:
        self._by_length: dict[int, dict[int, str]] = {}
        self.lookups: Lookups = ()
        self.vteps: frozenset[str] = frozenset()

    def find(self, address: int) -> str | None:
        """The VTEP for an address, None where no route fits."""
        for shift, prefixes in self.lookups:
            vtep = prefixes.get(address >> shift)
            if vtep is not None:
                return vtep
        return None

    def put(self, rows: Rows) -> None:
        """Adds rows, or changes those whose prefix is there."""
        for _, low, length, high_vtep, low_vtep in rows.tolist():
            plain = length - _MAPPED
            prefixes = self._by_length.setdefault(plain, {})
            prefixes[_prefix(low, plain)] = words_to_ip(high_vtep, low_vtep)
        self._settle()

    def drop(self, rows: Rows) -> None:
        """Removes rows by prefix; what is not there is no error."""
        for _, low, length, *_ in rows.tolist():
            plain = length - _MAPPED
            self._by_length.get(plain, {}).pop(_prefix(low, plain), None)
        self._settle()

    def rows(self) -> Rows:
        """All of them, as a table."""
        found = [
            (0, _IPV4 | prefix << (32 - length), length + _MAPPED, *ip_to_words(vtep))
            for length, prefixes in self._by_length.items()
            for prefix, vtep in prefixes.items()
        ]
        return tables.normalized(Table.ROUTES, np.array(found, tables.ROUTES))

    def _settle(self) -> None:
        used = sorted((length for length, prefixes in self._by_length.items() if prefixes), reverse=True)
        self.lookups = tuple((32 - length, self._by_length[length]) for length in used)
        self.vteps = frozenset(vtep for _, prefixes in self.lookups for vtep in prefixes.values())


def _prefix(low: int, length: int) -> int:
    return (low & 0xFFFFFFFF) >> (32 - length)
