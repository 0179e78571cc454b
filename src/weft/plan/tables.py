"""Tables as arrays: FDB (MAC → VTEP), neighbors (IP → MAC), flood lists (VTEPs), routes by neighbors, and their diff.

A table is one numpy structured array, sorted by its key without duplicates, so that two tables are compared by
merging and never row by row in Python. IP addresses are two 64-bit words, IPv4 mapped (see weft.model.address), MACs
the low 48 bits of a word; byte order is the machine's.

    fdb        mac → vtep_high, vtep_low       24 octets a row
    neighbors  ip_high, ip_low → mac           24 octets a row
    flood      vtep_high, vtep_low             16 octets a row
    routes     ip_high, ip_low, length → via_high, via_low    33 octets a row: to an address or a subnet, by a neighbor

A route's `length` is the prefix length in the mapped form: 128 for one address of either family, 120 for an IPv4 /24.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.recfunctions import repack_fields

from weft.model.address import int_to_mac, ip_to_words, mac_to_int, words_to_ip

Rows = npt.NDArray[np.void]


class Table(StrEnum):
    """The tables of a segment, or of a device in a router."""

    FDB = "fdb"
    NEIGHBORS = "neighbors"
    FLOOD = "flood"
    ROUTES = "routes"


FDB = np.dtype([("mac", "u8"), ("vtep_high", "u8"), ("vtep_low", "u8")])
NEIGHBORS = np.dtype([("ip_high", "u8"), ("ip_low", "u8"), ("mac", "u8")])
FLOOD = np.dtype([("vtep_high", "u8"), ("vtep_low", "u8")])
ROUTES = np.dtype([("ip_high", "u8"), ("ip_low", "u8"), ("length", "u1"), ("via_high", "u8"), ("via_low", "u8")])
_FEW = 64  # rows that are looked for one by one
HOST = 128
"""The length of a route to one address."""

DTYPE: dict[Table, np.dtype[Any]] = {
    Table.FDB: FDB,
    Table.NEIGHBORS: NEIGHBORS,
    Table.FLOOD: FLOOD,
    Table.ROUTES: ROUTES,
}
KEY: dict[Table, tuple[str, ...]] = {
    Table.FDB: ("mac",),
    Table.NEIGHBORS: ("ip_high", "ip_low"),
    Table.FLOOD: ("vtep_high", "vtep_low"),
    Table.ROUTES: ("ip_high", "ip_low", "length"),
}


def empty(table: Table) -> Rows:
    return np.empty(0, DTYPE[table])


def fdb(rows: Iterable[tuple[str, str]]) -> Rows:
    """A sorted FDB from (MAC, VTEP) pairs of canonical text; the last of several rows for one MAC stays."""
    return _build(Table.FDB, [(mac_to_int(mac), *ip_to_words(vtep)) for mac, vtep in rows])


def neighbors(rows: Iterable[tuple[str, str]]) -> Rows:
    """A sorted neighbor table from (IP, MAC) pairs of canonical text; the last of several rows for one IP stays."""
    return _build(Table.NEIGHBORS, [(*ip_to_words(ip), mac_to_int(mac)) for ip, mac in rows])


def flood(vteps: Iterable[str]) -> Rows:
    """A sorted flood list from VTEP addresses."""
    return _build(Table.FLOOD, [ip_to_words(vtep) for vtep in vteps])


def routes(rows: Iterable[tuple[str, str]]) -> Rows:
    """Sorted routes from (IP or subnet, next hop) pairs of canonical text; the last of several rows for one stays."""
    return _build(Table.ROUTES, [(*_target(to), *ip_to_words(via)) for to, via in rows])


def rows_of(table: Table, *columns: npt.NDArray[np.uint64]) -> Rows:
    """A sorted table of its columns side by side; the last of several rows for one key stays."""
    rows = np.empty(len(columns[0]), DTYPE[table])
    for name, column in zip(DTYPE[table].names or (), columns, strict=True):
        rows[name] = column
    return normalized(table, rows)


def joined(table: Table, parts: Iterable[Rows]) -> Rows:
    """One table of several; of rows for one key the last one's stays."""
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:
        return filled[0] if filled else empty(table)
    return normalized(table, np.concatenate(filled))


def _target(to: str) -> tuple[int, int, int]:
    ip, slash, length = to.partition("/")
    return *ip_to_words(ip), (int(length) + (0 if ":" in ip else 96)) if slash else HOST


def _build(table: Table, rows: list[Any]) -> Rows:
    return normalized(table, np.array(rows, DTYPE[table]))


def keys(table: Table, rows: Rows) -> Rows:
    """The key columns alone, packed, so that whole keys compare as one value."""
    packed = repack_fields(rows[list(KEY[table])])
    return packed.view(f"V{packed.dtype.itemsize}")


def normalized(table: Table, rows: Rows) -> Rows:
    """Sorted by key, one row per key (the last one given)."""
    if len(rows) < 2:
        return rows
    key = KEY[table]
    order = np.lexsort(tuple(rows[name] for name in reversed(key)))  # lexsort is stable: of equals the last stays last
    rows = rows[order]
    last = np.ones(len(rows), bool)
    last[:-1] = False
    for name in key:
        last[:-1] |= rows[name][1:] != rows[name][:-1]
    return rows[last]


def chosen(table: Table, rows: Rows, wanted: Iterable[tuple[int, ...]]) -> Rows:
    """The rows of a sorted table that have one of these keys, each given as the numbers of its key's columns."""
    asked = sorted(set(wanted))
    if len(asked) > _FEW:
        like = np.zeros(len(asked), DTYPE[table])
        like[list(KEY[table])] = asked
        return rows[np.isin(keys(table, rows), keys(table, like))]
    key = _reader(table, rows)
    found = []
    for each in asked:
        at = bisect_left(range(len(rows)), each, key=key)
        if at < len(rows) and key(at) == each:
            found.append(at)
    return rows[found]


def replaced(table: Table, rows: Rows, gone: Rows, more: Rows) -> Rows:
    """A sorted table without the rows whose key is in `gone`, and with `more`, which win. Both are sorted as well; of
    few rows each costs a search, and all together one copy of the table."""
    if len(gone) + len(more) > _FEW:
        kept = rows[~np.isin(keys(table, rows), keys(table, gone))] if len(gone) else rows
        return normalized(table, np.concatenate((kept, more)))
    edits = {tuple(row[: len(KEY[table])]): gone[:0] for row in gone.tolist()} if len(gone) else {}
    edits |= {tuple(row[: len(KEY[table])]): more[at : at + 1] for at, row in enumerate(more.tolist())}
    key = _reader(table, rows)
    parts, done = [], 0
    for each, row in sorted(edits.items(), key=itemgetter(0)):
        at = bisect_left(range(len(rows)), each, done, key=key)
        parts += [rows[done:at], row]
        done = at + 1 if at < len(rows) and key(at) == each else at
    return np.concatenate((*parts, rows[done:]))


def _reader(table: Table, rows: Rows) -> Callable[[int], tuple[int, ...]]:
    """The key of a row by its place."""
    columns = [rows[name] for name in KEY[table]]
    return lambda at: tuple(column.item(at) for column in columns)


def text(table: Table, rows: Rows) -> list[tuple[str, ...]]:
    """Rows as canonical text: (mac, vtep), (ip, mac), (vtep,) or (ip, via); for people and tests, not for bulk."""
    if table is Table.FDB:
        return [(int_to_mac(mac), words_to_ip(high, low)) for mac, high, low in rows.tolist()]
    if table is Table.NEIGHBORS:
        return [(words_to_ip(high, low), int_to_mac(mac)) for high, low, mac in rows.tolist()]
    if table is Table.ROUTES:
        return [(_shown(*row[:3]), words_to_ip(*row[3:])) for row in rows.tolist()]
    return [(words_to_ip(high, low),) for high, low in rows.tolist()]


def _shown(high: int, low: int, length: int) -> str:
    ip = words_to_ip(high, low)
    return ip if length == HOST else f"{ip}/{length if ':' in ip else length - 96}"


@dataclass(frozen=True, slots=True, eq=False)
class TableDiff:
    """`put`: rows to write, new or with another value; `drop`: rows whose key is not wanted."""

    put: Rows
    drop: Rows


def difference(table: Table, wanted: Rows, actual: Rows) -> TableDiff:
    """What turns `actual` into `wanted`; both sorted by key without duplicates. O(n log n), no per-row Python."""
    if len(wanted) == len(actual) and np.array_equal(wanted, actual):
        return TableDiff(empty(table), empty(table))
    if not len(actual) or not len(wanted):
        return TableDiff(wanted, actual)
    both = np.concatenate((wanted, actual))
    mine = np.arange(len(both)) < len(wanted)
    key = KEY[table]
    order = np.lexsort(tuple(both[name] for name in reversed(key)))  # stable: for one key, wanted comes first
    both, mine = both[order], mine[order]
    same_key = np.ones(len(both) - 1, bool)
    for name in key:
        same_key &= both[name][1:] == both[name][:-1]
    same_row = same_key.copy()
    for name in DTYPE[table].names or ():
        same_row &= both[name][1:] == both[name][:-1]
    has_twin = np.zeros(len(both), bool)  # wanted rows that stand in actual, to the letter
    has_twin[:-1] = same_row
    has_key = np.zeros(len(both), bool)  # actual rows whose key is wanted
    has_key[1:] = same_key
    return TableDiff(both[mine & ~has_twin], both[~mine & ~has_key])


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The tables of one segment on one node, or of one device in a router. Routes: of routers and routed segments."""

    fdb: Rows = field(default_factory=lambda: empty(Table.FDB))
    neighbors: Rows = field(default_factory=lambda: empty(Table.NEIGHBORS))
    flood: Rows = field(default_factory=lambda: empty(Table.FLOOD))
    routes: Rows = field(default_factory=lambda: empty(Table.ROUTES))

    @staticmethod
    def none() -> Tables:
        return Tables()

    def __getitem__(self, table: Table) -> Rows:
        rows: Rows = getattr(self, table.value)
        return rows

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tables) and all(np.array_equal(self[table], other[table]) for table in Table)

    __hash__ = None  # type: ignore[assignment]
