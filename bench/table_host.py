"""A host with one segment, whose tables benchmarks fill and read again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from weft.l2 import names
from weft.l2.kernel.datapath import KernelDatapath
from weft.model.network import Arp, SegmentKey
from weft.netlink import namespace
from weft.plan import tables
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import PutSegment
from weft.plan.segment import Segment
from weft.plan.tables import Rows, Table, Tables, text

KEY = SegmentKey(4789, 5000)
SEGMENT = Segment(KEY, "bench", "192.168.33.1", 1450, False, 300, Arp.SUPPRESS)
NAMESPACE = "weft-bench-tables"
FEW = 200_000  # rows, beyond which one round has to do


def rounds(count: int) -> int:
    return 5 if count <= FEW else 1


@contextmanager
def host() -> Iterator[KernelDatapath]:
    namespace.create(NAMESPACE)
    subprocess.run(["ip", "-n", NAMESPACE, "address", "add", "192.168.33.1/24", "dev", "lo"], check=True)
    datapath = KernelDatapath("bench", NAMESPACE)
    try:
        empty(datapath)
        yield datapath
    finally:
        datapath.close()
        namespace.delete(NAMESPACE)


def empty(datapath: KernelDatapath) -> None:
    """The segment anew, with nothing in its tables."""
    datapath.apply(diff(NodePlan("bench"), Observed({KEY: SEGMENT})))
    applied = datapath.apply([PutSegment(SEGMENT)])
    assert applied.ok, applied.failed


def mac(number: int) -> str:
    return f"02:00:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def rows_of(table: Table, count: int) -> Rows:
    """As many remote MACs, or addresses, as told."""
    if table is Table.FDB:
        return tables.fdb((mac(i), f"192.168.34.{1 + i % 250}") for i in range(count))
    return tables.neighbors((f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", mac(i)) for i in range(count))


def plan_of(table: Table, rows: Rows) -> NodePlan:
    """A plan of the segment with this one table."""
    wanted = Tables(**{each.value: rows if each is table else tables.empty(each) for each in Table})
    return NodePlan("bench", {KEY: SEGMENT}, {KEY: wanted})


def batch(table: Table, rows: Rows, verb: str = "replace") -> Iterator[str]:
    """Lines for `bridge -batch` and `ip -batch` that do the same."""
    for key, value in text(table, rows):
        if table is Table.FDB:
            yield f"fdb {verb} {key} dev {names.vxlan(KEY)} dst {value} self master static\n"
        else:
            yield f"neighbor {verb} {key} lladdr {value} dev {names.bridge(KEY)} nud permanent\n"
