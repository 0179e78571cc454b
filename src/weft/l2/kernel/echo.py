"""The notifications that our own FDB and flood list operations cause, by content. Pure.

The kernel does not say who wrote an FDB row. So the rows of an operation are turned into what the kernel will tell of
them; whatever else it tells in that time was somebody else. Telling the same thing as our own operation is no drift:
what stands is what was wanted.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.model.address import ip_to_words
from weft.model.network import SegmentKey
from weft.netlink import message as m
from weft.netlink.neighbor import NDA_DST, NDA_LLADDR
from weft.plan.operations import DropRows, Operation, PutRows
from weft.plan.tables import Table

Row = tuple[bool, SegmentKey, int, tuple[int, int] | None]
"""Written (else removed), segment, MAC, VTEP as words; no VTEP: the bridge's row, which names the port instead."""
Echo = frozenset[Row]

MOST = 5000
"""Rows of one apply. Above, the echoes are read as events, and all is observed once: cheaper than taking them apart."""


def row_of(written: bool, segment: SegmentKey, attributes: m.Attributes) -> Row:
    """The row that a message of the FDB speaks of."""
    vtep = attributes.get(NDA_DST)
    mac = int.from_bytes(attributes.get(NDA_LLADDR, b""), "big")
    return written, segment, mac, _words(vtep) if vtep else None


def _words(address: bytes) -> tuple[int, int]:
    if len(address) == 4:
        return ip_to_words(".".join(map(str, address)))
    return int.from_bytes(address[:8], "big"), int.from_bytes(address[8:], "big")


def expected(operations: Iterable[Operation]) -> Echo:
    """What the kernel will tell of these operations' FDB and flood rows."""
    rows: set[Row] = set()
    for operation in operations:
        if not isinstance(operation, PutRows | DropRows) or operation.table not in (Table.FDB, Table.FLOOD):
            continue
        if not isinstance(operation.key, SegmentKey):  # a router's
            continue
        if len(rows) + 2 * len(operation.rows) > 2 * MOST:
            return frozenset()
        written = isinstance(operation, PutRows)
        for row in operation.rows.tolist():
            mac, vtep = (0, row) if operation.table is Table.FLOOD else (row[0], row[1:])
            rows.add((written, operation.key, mac, tuple(vtep)))
            rows.add((written, operation.key, mac, None))
    return frozenset(rows)
