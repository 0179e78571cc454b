"""What the flannel tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peering.flannel.etcd import Etcd, etcd
from tests.peering.flannel.fabric import Fabric, fabric
from tests.peering.flannel.node import Node
from weft.l2.user.iptunnel.tunnels import IpTunnels
from weft.peering.flannel.device import CLUSTER


@pytest.fixture
def hosts() -> Iterator[Fabric]:
    with fabric() as made:
        yield made


@pytest.fixture
def server(hosts: Fabric, tmp_path: Path) -> Iterator[Etcd]:
    with etcd(hosts, tmp_path / "etcd") as started:
        yield started


@pytest.fixture
def node(hosts: Fabric, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes a host by number, and its daemon, which is not started yet."""
    made: list[Node] = []

    def make(number: int, *words: str, **more: str) -> Node:
        made.append(Node(hosts.host(number), tmp_path / f"n{number}", words, **more))
        return made[-1]

    yield make
    for each in made:
        each.kill()
        tunnels = IpTunnels(CLUSTER, each.host.namespace)  # a forwarder outlives its daemon
        tunnels.stop()
        tunnels.close()
