"""Programming big tables: Weft against iproute2's batch mode, pyroute2, and the kernel's own limit.

    python -m bench tables [ROWS…]            10,000, 100,000 and 1,000,000 rows unless told

Each row is a remote MAC: one FDB row in the bridge and one in the vxlan device, written by one message; and a neighbor
row on the bridge. Weft's time is diff, encode and send together; the limit sends the same octets, encoded before.
pyroute2 makes one call a row; it programs a twentieth of them, at most 5,000. The whole apply compiles a node's plan
from that many ports of other nodes and programs both tables; reading them back is the kernel's work again, twice.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import NetNS

from bench.measure import Taken, Work, interleaved, table
from bench.table_host import KEY, NAMESPACE, SEGMENT, batch, empty, host, mac, plan_of, rounds, rows_of
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.l2 import names
from weft.l2.kernel.datapath import KernelDatapath
from weft.model.intent import Intent
from weft.model.network import Network
from weft.model.node import Node
from weft.model.port import Attach, AttachKind, Port
from weft.netlink import message as m
from weft.netlink import neighbor as n
from weft.netlink.channel import Channel
from weft.netlink.links import Links
from weft.plan.diff import diff
from weft.plan.node import NodePlan, Observed
from weft.plan.tables import Rows, Table, Tables, text

WHOLE = 200_000  # ports: more than that would measure how they are made up


def run(*arguments: str) -> Iterator[str]:
    for count in map(int, arguments or ("10000", "100000", "1000000")):
        with host() as datapath:
            for table_, title in ((Table.FDB, "FDB"), (Table.NEIGHBORS, "Neighbors")):
                yield f"### {title}, {count:,} rows; rounds: {rounds(count)}"
                yield from _programming(datapath, count, table_)
        if count <= WHOLE:
            with host() as datapath:
                yield f"### The whole apply of {count:,} remote ports; rounds: {rounds(count)}"
                yield from _whole(datapath, count)


def _programming(datapath: KernelDatapath, count: int, table_: Table) -> list[str]:
    rows = rows_of(table_, count)
    plan = plan_of(table_, rows)
    nothing = Observed({KEY: SEGMENT}, {KEY: Tables.none()})
    tool = "bridge" if table_ is Table.FDB else "ip"

    def weft() -> None:
        applied = datapath.apply(diff(plan, nothing))
        assert applied.ok, applied.failed

    limit = _Limit(table_, rows)

    def before() -> None:
        empty(datapath)
        limit.prepare()

    with tempfile.TemporaryDirectory() as directory:
        taken = interleaved(
            {
                "Weft: diff, encode, send": weft,
                f"`{tool} -batch`": _batch(tool, Path(directory, "batch"), table_, rows),
                "the same octets, encoded before": limit.send,
            },
            rounds(count),
            before,
        )
    few = max(1, min(count // 20, 5000))
    alone = interleaved({"": lambda: _one_by_one(table_, rows[:few])}, 1, lambda: empty(datapath))[""]
    share = count / few
    taken[f"pyroute2, one call a row (of {few:,}, times {share:.0f})"] = Taken(alone.wall * share, alone.cpu * share)
    return table(taken, f"`{tool} -batch`", count)


def _batch(tool: str, file: Path, table_: Table, rows: Rows) -> Work:
    file.write_text("".join(batch(table_, rows)))
    command = ["ip", "netns", "exec", NAMESPACE, tool, "-batch", str(file)]
    return lambda: subprocess.run(command, check=True)


def _one_by_one(table_: Table, rows: Rows) -> None:
    state = n.NUD_NOARP | n.NUD_REACHABLE
    with NetNS(NAMESPACE, flags=0) as ip:
        vxlan, bridge = (ip.link_lookup(ifname=name)[0] for name in (names.vxlan(KEY), names.bridge(KEY)))
        for key, value in text(table_, rows):
            if table_ is Table.FDB:
                ip.fdb("replace", ifindex=vxlan, lladdr=key, dst=value, state=state, flags=n.NTF_SELF | n.NTF_MASTER)
            else:
                ip.neigh("replace", dst=key, lladdr=value, ifindex=bridge, state="permanent")


def _whole(datapath: KernelDatapath, count: int) -> list[str]:
    world = _world(count)
    rows = rows_of(Table.FDB, count)

    there = Observed({KEY: SEGMENT}, {KEY: Tables.none()})

    def weft() -> NodePlan:
        """As the agent does: what the kernel has not refused is there, and the next resync reads it."""
        plan = compile_node(world, "h0")
        applied = datapath.apply(diff(plan, there))
        assert applied.ok, applied.failed
        return plan

    def verified() -> None:
        assert diff(weft(), datapath.observe()) == []

    with tempfile.TemporaryDirectory() as directory:
        peers = {
            "Weft: compile, diff, program FDB and neighbors, each row answered for": weft,
            "the same, and both tables read back and compared": verified,
            "`bridge -batch`, FDB alone": _batch("bridge", Path(directory, "batch"), Table.FDB, rows),
        }
        taken = interleaved(peers, rounds(count), lambda: empty(datapath))
    return table(taken, "`bridge -batch`, FDB alone", count, "ports")


def _world(count: int) -> World:
    """One network that reaches from here to 250 nodes."""
    nodes = {"h0": Node(name="h0", vtep=SEGMENT.vtep)}
    nodes |= {f"h{i}": Node(name=f"h{i}", vtep=f"192.168.34.{i}") for i in range(1, 251)}
    network = Network(name="bench", vni=KEY.vni, subnets=("10.0.0.0/8",))
    ports = [Port(name="own", network="bench", node="h0", mac=mac(count + 1), attach=Attach(kind=AttachKind.HOST))]
    ports += [
        Port(
            name=f"p{i}",
            network="bench",
            node=f"h{1 + i % 250}",
            mac=mac(i),
            ips=(f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}",),
            attach=Attach(kind=AttachKind.TAP, target=f"t{i}"),
        )
        for i in range(1, count + 1)
    ]
    return World.of(Intent(nodes, {"bench": network}, {}, {port.name: port for port in ports}))


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


if __name__ == "__main__":
    for line in run(*sys.argv[1:]):
        print(line)
