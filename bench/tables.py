"""Programming and re-reading big tables: Weft against iproute2's batch mode, and against the kernel's own limit.

    python -m bench tables [ROWS…]            10,000 and 100,000 rows unless told

Each row is a remote MAC: one FDB row in the bridge and one in the vxlan device, written by one message; and a neighbor
row on the bridge. Weft's time is diff, encode and send together; the limit sends the same octets, encoded before.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import interleaved, table
from weft.l2 import names
from weft.l2.kernel.datapath import KernelDatapath
from weft.model.network import Arp, SegmentKey
from weft.netlink import message as m
from weft.netlink import namespace
from weft.netlink import neighbor as n
from weft.netlink.channel import Channel
from weft.netlink.links import Links
from weft.plan import tables
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed
from weft.plan.operations import PutSegment
from weft.plan.segment import Segment
from weft.plan.tables import Rows, Table, Tables, text

KEY = SegmentKey(4789, 5000)
SEGMENT = Segment(KEY, "bench", "192.168.33.1", 1450, False, 300, Arp.SUPPRESS)
NAMESPACE = "weft-bench-tables"
ROUNDS = 5


def run(*arguments: str) -> Iterator[str]:
    for count in map(int, arguments or ("10000", "100000")):
        with _host() as datapath:
            yield f"### FDB, {count:,} rows"
            yield from _programming(datapath, count, Table.FDB)
            yield f"### Neighbors, {count:,} rows"
            yield from _programming(datapath, count, Table.NEIGHBORS)
            yield f"### Resync of {count:,} unchanged FDB rows, dump included"
            yield from _resync(datapath, count)


@contextmanager
def _host() -> Iterator[KernelDatapath]:
    namespace.create(NAMESPACE)
    subprocess.run(["ip", "-n", NAMESPACE, "address", "add", "192.168.33.1/24", "dev", "lo"], check=True)
    datapath = KernelDatapath("bench", NAMESPACE)
    try:
        _empty(datapath)
        yield datapath
    finally:
        datapath.close()
        namespace.delete(NAMESPACE)


def _empty(datapath: KernelDatapath) -> None:
    """The segment anew, with nothing in its tables."""
    datapath.apply(diff(NodePlan("bench"), Observed({KEY: SEGMENT})))
    applied = datapath.apply([PutSegment(SEGMENT)])
    assert applied.ok, applied.failed


def _rows(table_: Table, count: int) -> Rows:
    macs = [f"02:00:{i >> 24 & 255:02x}:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x}" for i in range(count)]
    if table_ is Table.FDB:
        return tables.fdb((mac, f"192.168.34.{1 + i % 250}") for i, mac in enumerate(macs))
    return tables.neighbors((f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", mac) for i, mac in enumerate(macs))


def _programming(datapath: KernelDatapath, count: int, table_: Table) -> list[str]:
    rows = _rows(table_, count)
    wanted = Tables(**{each.value: rows if each is table_ else tables.empty(each) for each in Table})
    plan = NodePlan("bench", {KEY: SEGMENT}, {KEY: wanted})
    nothing = Observed({KEY: SEGMENT}, {KEY: Tables.none()})
    with tempfile.TemporaryDirectory() as directory:
        batch = Path(directory, "batch")
        batch.write_text("".join(_lines(table_, rows)))
        tool = "bridge" if table_ is Table.FDB else "ip"
        command = ["ip", "netns", "exec", NAMESPACE, tool, "-batch", str(batch)]

        def weft() -> None:
            applied = datapath.apply(diff(plan, nothing))
            assert applied.ok, applied.failed

        limit = _Limit(table_, rows)

        def before() -> None:
            _empty(datapath)
            limit.prepare()

        taken = interleaved(
            {
                "Weft: diff, encode, send": weft,
                f"`{tool} -batch`": lambda: subprocess.run(command, check=True),
                "the same octets, encoded before": limit.send,
            },
            ROUNDS,
            before,
        )
    return table(taken, f"`{tool} -batch`", count)


def _lines(table_: Table, rows: Rows) -> Iterator[str]:
    for key, value in text(table_, rows):
        if table_ is Table.FDB:
            yield f"fdb replace {key} dev {names.vxlan(KEY)} dst {value} self master static\n"
        else:
            yield f"neighbor replace {key} lladdr {value} dev {names.bridge(KEY)} nud permanent\n"


class _Limit:
    """Sends what Weft would send, without making it: the kernel's share of the work."""

    def __init__(self, table_: Table, rows: Rows) -> None:
        self.table, self.rows = table_, rows
        self.channel = Channel(namespace=NAMESPACE, buffer=4 << 20)
        self.chunks: list[bytes] = []

    def prepare(self) -> None:
        fdb = self.table is Table.FDB
        link = Links(self.channel).get(names.vxlan(KEY) if fdb else names.bridge(KEY))
        assert link
        create = m.NLM_F_CREATE | m.NLM_F_REPLACE
        form = (
            n.Form(n.FDB, link.index, create, n.NUD_NOARP | n.NUD_REACHABLE, n.NTF_SELF | n.NTF_MASTER)
            if fdb
            else n.Form(n.NEIGHBOR, link.index, create, n.NUD_PERMANENT)
        )
        self.chunks = [
            matrix[start : start + 400].tobytes()
            for _, matrix in n.encode(self.rows, form)
            for start in range(0, len(matrix), 400)
        ]

    def send(self) -> None:
        for chunk in self.chunks:
            self.channel.socket.send(chunk)
        assert list(self.channel.errors()) == []


def _resync(datapath: KernelDatapath, count: int) -> list[str]:
    rows = _rows(Table.FDB, count)
    wanted = Tables(rows, tables.empty(Table.NEIGHBORS), tables.empty(Table.FLOOD))
    plan = NodePlan("bench", {KEY: SEGMENT}, {KEY: wanted})
    _empty(datapath)
    datapath.apply(diff(plan, Observed({KEY: SEGMENT}, {KEY: Tables.none()})))
    show = ["ip", "netns", "exec", NAMESPACE, "bridge", "fdb", "show"]

    def weft() -> None:
        assert diff(plan, datapath.observe()) == []

    peer = "`bridge fdb show >/dev/null`"
    taken = interleaved(
        {"Weft: observe, diff": weft, peer: lambda: subprocess.run(show, check=True, stdout=subprocess.DEVNULL)}, ROUNDS
    )
    return table(taken, peer, count)


if __name__ == "__main__":
    for line in run(*sys.argv[1:]):
        print(line)
