"""A small underlay of our own: two hosts as namespaces, joined by a veth pair, and end points to attach."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from weft.l2.kernel.datapath import KernelDatapath
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach, AttachKind
from weft.netlink import namespace
from weft.netlink.addresses import Addresses
from weft.netlink.channel import Channel
from weft.netlink.links import Change, Links, Peer
from weft.plan import tables
from weft.plan.diff import diff
from weft.plan.node import NodePlan
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Tables

_number = itertools.count()
PATIENCE = 60.0
"""Seconds after which a test gives up; says nothing about how fast it should be."""


@dataclass
class Underlay:
    """`hosts` are namespaces with the VTEP addresses `vteps` (IPv4) and `vteps6` on eth1."""

    prefix: str
    hosts: tuple[str, str]
    vteps: tuple[str, str] = ("192.168.33.12", "192.168.33.13")
    vteps6: tuple[str, str] = ("fd00:33::12", "fd00:33::13")
    made: list[str] = field(default_factory=list)
    paths: list[KernelDatapath] = field(default_factory=list)

    def namespace(self, name: str) -> str:
        full = f"{self.prefix}{name}"
        namespace.create(full)
        self.made.append(full)
        return full

    def datapath(self, host: int, cluster: str = "default") -> KernelDatapath:
        path = KernelDatapath(cluster, self.hosts[host], lambda name: f"{self.prefix}{name}")
        self.paths.append(path)
        return path

    def links(self, host: int) -> Links:
        return Links(Channel(namespace=self.hosts[host]))


def join(world: Underlay) -> None:
    channels = [Channel(namespace=name) for name in world.hosts]
    macs = ("02:00:00:00:33:12", "02:00:00:00:33:13")
    with namespace.opened(world.hosts[1]) as fd:
        first = Change(name="eth1", kind="veth", mac=macs[0], mtu=1500, quiet=True)
        Links(channels[0]).create(first, Peer("eth1", macs[1], 1500, fd))
    for channel, four, six in zip(channels, world.vteps, world.vteps6, strict=True):
        links = Links(channel)
        link = links.get("eth1")
        assert link is not None
        links.change(link, Change(quiet=True, up=True))
        Addresses(channel).make(link, (f"{four}/24", f"{six}/64"), ())
        channel.close()


@contextmanager
def joined() -> Iterator[Underlay]:
    """Two hosts for as long as the block lasts, by names of their own."""
    prefix = f"weft-t-{os.getpid()}-{next(_number)}-"
    world = Underlay(prefix, (f"{prefix}h1", f"{prefix}h2"))
    try:
        for host in ("h1", "h2"):
            world.namespace(host)
        join(world)
        yield world
    finally:
        for path in world.paths:
            path.close()
        for name in reversed(world.made):
            namespace.delete(name)


BLUE = SegmentKey(4789, 5000)
MACS = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")
IPS = (("10.1.1.11/24", "fd01::11/64"), ("10.1.1.12/24", "fd01::12/64"))


@dataclass(frozen=True, slots=True)
class Overlay:
    """One network between the two hosts, a port each: `a` on the first, `b` on the second."""

    key: SegmentKey = BLUE
    learning: bool = False
    arp: Arp = Arp.SUPPRESS
    group: str | None = None
    six: bool = False
    mtu: int = 1430
    age: int = 300
    kind: AttachKind = AttachKind.NAMESPACE
    judged: bool = False  # the group's members are told

    def plan(self, world: Underlay, host: int) -> NodePlan:
        vteps = world.vteps6 if self.six else world.vteps
        segment = Segment(
            self.key,
            "blue",
            vteps[host],
            self.mtu,
            self.learning,
            self.age,
            self.arp,
            self.group,
            members=(vteps[1 - host],) if self.judged else None,
        )
        bare = [(ip.split("/")[0], mac) for ips, mac in zip(IPS, MACS, strict=True) for ip in ips]
        rows = Tables(
            tables.fdb([] if self.learning else [(MACS[1 - host], vteps[1 - host])]),
            tables.neighbors(bare if self.arp is Arp.SUPPRESS else []),
            tables.flood([] if self.group else [vteps[1 - host]]),
        )
        name = "ab"[host]
        attach = Attach(kind=self.kind, target="" if self.kind is AttachKind.HOST else name)
        port = LocalPort(name, self.key, attach, MACS[host], IPS[host], self.mtu)
        return NodePlan(f"h{host + 1}", {self.key: segment}, {self.key: rows}, {name: port})

    def up(self, world: Underlay) -> tuple[KernelDatapath, KernelDatapath]:
        """Both hosts brought to their plans, with end points in namespaces `a` and `b`."""
        if self.kind is AttachKind.NAMESPACE:
            for name in "ab":
                world.namespace(name)
        paths = world.datapath(0), world.datapath(1)
        for host, path in enumerate(paths):
            assert bring(path, self.plan(world, host))
        return paths


def bring(path: KernelDatapath, wanted: NodePlan) -> list[str]:
    """Applies the difference, checks that none is left, and returns the operations as text."""
    operations = diff(wanted, path.observe())
    applied = path.apply(operations)
    assert applied.failed == (), [str(error) for _, error in applied.failed]
    left = diff(wanted, path.observe())
    assert not left, [str(operation) for operation in left]
    return [str(operation) for operation in operations]


def ip(host: str, *words: str) -> None:
    """An outsider's hand: iproute2 in a namespace."""
    subprocess.run(["ip", "netns", "exec", host, *words], check=True, capture_output=True)


def reaches(world: Underlay, target: str, source: str = "a", tries: int = 2) -> bool:
    """Whether any of so many echo requests is answered."""
    command = ["ip", "netns", "exec", f"{world.prefix}{source}", "ping", "-c", str(tries), "-i", "0.05", "-W", "10"]
    return subprocess.run([*command, target], capture_output=True, check=False).returncode == 0
