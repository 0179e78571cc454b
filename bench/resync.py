"""Reading big tables again: what a resync costs beside `bridge fdb show`, which does nothing with what it reads.

    python -m bench resync [ROWS…]            10,000, 100,000 and 1,000,000 rows unless told

A resync is the kernel's dump, decoded as arrays, and the diff against the plan; where one row of a hundred has gone,
those are put again, too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.measure import interleaved, table
from bench.table_host import KEY, NAMESPACE, SEGMENT, batch, empty, host, plan_of, rounds, rows_of
from weft.l2.kernel.datapath import KernelDatapath
from weft.plan.diff import diff
from weft.plan.node import Observed
from weft.plan.tables import Table, Tables

SHOW = ["ip", "netns", "exec", NAMESPACE, "bridge", "fdb", "show"]
PEER = "`bridge fdb show >/dev/null`"


def run(*arguments: str) -> Iterator[str]:
    for count in map(int, arguments or ("10000", "100000", "1000000")):
        with host() as datapath:
            yield f"### Resync of {count:,} FDB rows, dump included; rounds: {rounds(count)}"
            yield from _resync(datapath, count)


def _resync(datapath: KernelDatapath, count: int) -> list[str]:
    rows = rows_of(Table.FDB, count)
    plan = plan_of(Table.FDB, rows)
    empty(datapath)
    datapath.apply(diff(plan, Observed({KEY: SEGMENT}, {KEY: Tables.none()})))

    def unchanged() -> None:
        assert diff(plan, datapath.observe()) == []

    def drifted() -> None:
        applied = datapath.apply(diff(plan, datapath.observe()))
        assert applied.ok, applied.failed
        assert len(applied.done) == 1, applied.done

    with tempfile.TemporaryDirectory() as directory:
        gone = Path(directory, "batch")
        gone.write_text("".join(batch(Table.FDB, rows[::100], "del")))
        delete = ["ip", "netns", "exec", NAMESPACE, "bridge", "-batch", str(gone)]
        show = lambda: subprocess.run(SHOW, check=True, stdout=subprocess.DEVNULL)  # noqa: E731
        taken = interleaved({"Weft: observe, diff, nothing changed": unchanged, PEER: show}, rounds(count))
        lines = table(taken, PEER, count)
        peers = {"Weft: observe, diff, put 1 % again": drifted, PEER: show}
        taken = interleaved(peers, rounds(count), lambda: subprocess.run(delete, check=False, capture_output=True))
    return [*lines, *table(taken, PEER, count)[2:3]]


if __name__ == "__main__":
    for line in run(*sys.argv[1:]):
        print(line)
