"""Open vSwitch: a bundle of many endpoints, packets lost meanwhile, and an agent that comes back.

    python -m bench ovs [ENDPOINTS]            10,000 unless told

Two hosts, each with an Open vSwitch of its own. A ping every 5 ms crosses the overlay while all rows are replaced, one
bundle a time: an endpoint is an FDB row and a neighbor row. The peer of the comparison is one `ovs-ofctl` reading and
sending the same flows, without Weft.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from bench.measure import interleaved, table
from weft.l2.ovs import process
from weft.l2.ovs.datapath import OvsDatapath
from weft.model.address import int_to_mac
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach, AttachKind
from weft.netlink import namespace
from weft.plan import tables
from weft.plan.diff import diff
from weft.plan.node import NodePlan
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Tables

KEY = SegmentKey(4789, 5000)
VTEPS = ("192.168.33.1", "192.168.33.2")
HOSTS = ("weft-bench-o1", "weft-bench-o2")
MACS = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")
IPS = ("10.1.0.1", "10.1.0.2")
ROUNDS = 5


def run(*arguments: str) -> Iterator[str]:
    count = int(arguments[0]) if arguments else 10_000
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-")))
        paths = [_host(stack, place, number) for number in range(2)]
        for number, path in enumerate(paths):
            _bring(path, _plan(number, 0, 0))
        yield from _bundles(paths[0], place, count)
        yield from _loss(paths, place, count)


def _host(stack: ExitStack, place: Path, number: int) -> OvsDatapath:
    host = HOSTS[number]
    namespace.create(host)
    stack.callback(namespace.delete, host)
    if number:
        wire = ["ip", "link", "add", "eth1", "netns", HOSTS[0], "type", "veth", "peer", "name", "eth1", "netns", host]
        subprocess.run(wire, check=True)
        for end, vtep in zip(HOSTS, VTEPS, strict=True):
            subprocess.run(["ip", "-n", end, "address", "add", f"{vtep}/24", "dev", "eth1"], check=True)
            subprocess.run(["ip", "-n", end, "link", "set", "eth1", "up"], check=True)
    instance = process.start(place / host, host)
    stack.callback(subprocess.run, ["kill", "-KILL", str(instance.switch), str(instance.database)], check=True)
    path = OvsDatapath("bench", host, rundir=place / host)
    stack.callback(path.close)
    return path


def _plan(host: int, count: int, generation: int) -> NodePlan:
    """`count` endpoints behind the other VTEP; a new generation gives each address another MAC."""
    there = [(int_to_mac(0x020001000000 + (generation << 20) + number), f"10.1.{number >> 8}.{number & 255}")
             for number in range(256, 256 + count)]  # fmt: skip
    remote = [(MACS[1 - host], IPS[1 - host]), *there]
    rows = Tables(
        tables.fdb((mac, VTEPS[1 - host]) for mac, _ in remote),
        tables.neighbors([*((ip, mac) for mac, ip in remote), (IPS[host], MACS[host])]),
        tables.flood([VTEPS[1 - host]]),
    )
    segment = Segment(KEY, "bench", VTEPS[host], 1450, False, 300, Arp.SUPPRESS)
    attach = Attach(kind=AttachKind.HOST)
    port = LocalPort("h", KEY, attach, MACS[host], (f"{IPS[host]}/16",), 1450)
    return NodePlan(HOSTS[host], {KEY: segment}, {KEY: rows}, {"h": port})


def _bring(path: OvsDatapath, wanted: NodePlan) -> int:
    operations = diff(wanted, path.observe())
    applied = path.apply(operations)
    assert applied.ok, applied.failed
    return len(operations)


def _bundles(path: OvsDatapath, place: Path, count: int) -> Iterator[str]:
    full, empty = _plan(0, count, 0), _plan(0, 0, 0)
    operations = diff(full, path.observe())
    back = diff(empty, replace(path.observe(), tables=full.tables))
    bridge = f"unix:{place / HOSTS[0] / 'br-tun.mgmt'}"
    path.apply(operations)
    dumped = subprocess.run(
        ["ovs-ofctl", "dump-flows", "--no-stats", bridge], capture_output=True, text=True, check=True
    )
    printed = [line.strip() for line in dumped.stdout.splitlines() if "cookie=" in line]
    flows = place / "flows"
    flows.write_text("".join(re.sub(", (?=table|priority)", ",", line) + "\n" for line in printed))
    path.apply(back)
    taken = interleaved(
        {
            "weft: tables → flows → one bundle": lambda: path.apply(operations),
            "ovs-ofctl alone, the same flows": lambda: _alone(bridge, flows),
        },
        ROUNDS,
        before=lambda: path.apply(diff(empty, path.observe())),
    )
    yield f"### {count:,} endpoints, {len(printed):,} flows put in one bundle"
    yield from table(taken, "ovs-ofctl alone, the same flows", count, "endpoints")
    _bring(path, full)
    again = OvsDatapath("bench", HOSTS[0], rundir=place / HOSTS[0])
    begun = time.perf_counter()
    left = diff(full, again.observe())
    yield f"\nA new process observes them in {time.perf_counter() - begun:.3f} s and has {len(left)} operations to do."
    again.close()


def _alone(bridge: str, flows: Path) -> None:
    subprocess.run(["ovs-ofctl", "--bundle", "add-flows", bridge, str(flows)], check=True)


def _loss(paths: list[OvsDatapath], place: Path, count: int) -> Iterator[str]:
    rounds = 10
    ping = ["ip", "netns", "exec", HOSTS[0], "ping", "-i", "0.005", "-c", "2000", "-q", IPS[1]]
    with subprocess.Popen(ping, stdout=subprocess.PIPE, text=True) as pinging:
        replaced = 0.0
        for generation in range(1, rounds + 1):
            wanted = _plan(0, count, generation % 2)
            operations = diff(wanted, paths[0].observe())
            begun = time.perf_counter()
            assert paths[0].apply(operations).ok
            replaced += time.perf_counter() - begun
        again = OvsDatapath("bench", HOSTS[0], rundir=place / HOSTS[0])
        left = diff(wanted, again.observe())
        again.close()
        told, _ = pinging.communicate()
    found = re.search(r"(\d+) packets transmitted, (\d+) received", told)
    assert found
    yield f"\n### Packets lost while {count:,} endpoints are replaced {rounds} times, and an agent comes back"
    yield f"sent {found[1]}, received {found[2]} (one every 5 ms); a replacement took {replaced / rounds:.3f} s"
    yield f"(both old and new rows at once); the new agent has {len(left)} operations to do."
