"""Each mistake is one clear line that says what to do, and most are waited out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peering.flannel.etcd import PREFIX, Etcd, etcd
from tests.peering.flannel.fabric import PYTHON, Fabric
from tests.peering.flannel.node import Node

pytestmark = pytest.mark.system
Make = Callable[..., Node]
CONFIG = {"Network": "10.2.0.0/16", "SubnetMax": "10.2.3.0", "Backend": {"Type": "vxlan"}}


def one_line(node: Node, words: str) -> str:
    """The only line that says so."""
    node.wait(words)
    lines = [line for line in node.said().splitlines() if words in line]
    assert len(lines) == 1, node.said()
    return lines[0]


def test_missing_configuration_and_wrong_prefix(server: Etcd, node: Make) -> None:
    mine = node(5)
    mine.start()
    said = one_line(mine, "no key")
    assert f"etcd has no key {PREFIX}/config; write one: ETCDCTL_API=3 etcdctl put {PREFIX}/config" in said
    server.ctl("put", "/other/net/config", json.dumps(CONFIG))
    said = one_line(mine, "/other/net/config is one")
    assert said.endswith('-etcd-prefix /other/net"')
    server.put("config", '{"Network": "10.2.0.0/29"}')
    assert "Network 10.2.0.0/29 is too small; use a prefix length of at most 28" in one_line(mine, "too small")
    server.put("config", CONFIG | {"Backend": {"Type": "vxlan", "VNI": -5}})
    assert "the backend's VNI is -5; use a number from 1 to 16777215" in one_line(mine, "VNI is -5")
    server.put("config", CONFIG)
    mine.wait()


def test_the_old_api_has_the_configuration(hosts: Fabric, node: Make, tmp_path: Path) -> None:
    with etcd(hosts, tmp_path / "etcd", "--enable-v2") as server:
        server.ctl("set", f"{PREFIX}/config", json.dumps(CONFIG), api="2")
        mine = node(5)
        mine.start()
        said = one_line(mine, "the old v2 API has it")
        assert f"copy it to the v3 API: ETCDCTL_API=3 etcdctl put {PREFIX}/config" in said


def test_no_etcd_there(hosts: Fabric, node: Make, server: Etcd) -> None:
    """No route, nobody who listens, somebody who is no etcd 3.4: side by side, since each waits out etcd's patience."""
    stub = subprocess.Popen(
        ["ip", "netns", "exec", server.namespace, PYTHON, "-c", "import http.server as h; "
         "h.BaseHTTPRequestHandler.do_POST = lambda s: s.send_error(404); "
         "h.HTTPServer(('192.168.136.1', 4001), h.BaseHTTPRequestHandler).serve_forever()"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        cases = {
            "10.99.99.99:2379": "network is unreachable",
            "192.168.136.1:4999": "connection refused",
            "192.168.136.1:4001": "it answers http 404, not like the v3 api of etcd 3.4 or later",
        }
        nodes = {place: node(number, endpoints=f"http://{place}") for number, place in enumerate(cases, 5)}
        for each in nodes.values():
            each.start()
        for place, why in cases.items():
            said = one_line(nodes[place], f"({place}: ")
            assert why in said.lower()
            assert "check the addresses, that etcd runs there" in said
    finally:
        stub.kill()
        stub.wait()


def test_an_exhausted_pool_and_a_subnet_that_is_taken(server: Etcd, node: Make) -> None:
    server.put("config", CONFIG)
    for third in (1, 2):
        server.put(f"subnets/10.2.{third}.0-24", {"PublicIP": f"192.168.136.{third + 100}"})
    mine = node(5)
    mine.pin("10.2.2.0/24")
    mine.up()
    said = one_line(mine, "of the subnet file is")
    assert "subnet 10.2.2.0/24 of the subnet file is reserved for 192.168.136.102; 10.2.3.0/24 was taken" in said
    assert "restart the containers' bridge" in said
    late = node(6)
    late.start()
    assert late.exits() == 1
    assert (
        "no subnet of length 24 is left from 10.2.1.0 to 10.2.3.0, there are 3 leases, 2 of them reservations; "
        "raise SubnetMax or enlarge the network"
    ) in one_line(late, "no subnet of length")


def test_a_device_that_is_not_there(server: Etcd, node: Make) -> None:
    server.put("config", CONFIG)
    mine = node(5, "-iface", "eth7", "-iface=10.9.9.9")
    mine.start("-iface=eth7")
    mine.wait()  # eth0 is named too, and taken: the first that fits
    mine.end()
    mine.host.do("ip link set eth0 name eth5")
    mine.start()
    assert mine.exits() == 1
    said = one_line(mine, "no device leads to the other nodes")
    assert "no device eth0; no device eth7; no device has 10.9.9.9; name the right one with -iface" in said


def test_a_device_that_nobody_else_can_reach(server: Etcd, node: Make) -> None:
    server.put("config", CONFIG)
    mine = node(5)
    mine.start("-iface=lo", "-iface=eth0")
    mine.wait()
    assert "no other node" not in mine.said(), "eth0 was named first"
    mine.end()
    mine.host.do("ip link set eth0 name eth5")
    mine.start("-iface=lo")
    mine.wait()
    assert "it meets them by 127.0.0.1 of lo" in one_line(mine, "no other node can reach this one")


def test_a_network_that_takes_in_its_underlay(server: Etcd, node: Make) -> None:
    server.put("config", CONFIG | {"Network": "192.168.136.0/24", "SubnetMax": None})
    mine = node(5)
    mine.start()
    assert mine.exits() == 1
    said = one_line(mine, "has subnets in")
    assert "Network 192.168.136.0/24 has subnets in 192.168.136.0/24, by which eth0 (192.168.136.5) reaches" in said
    assert server.leases() == {}


def test_two_on_one_host(server: Etcd, node: Make, tmp_path: Path) -> None:
    server.put("config", CONFIG)
    mine = node(5)
    chain = "filter FORWARD { type filter hook forward priority 0; policy drop; }"
    mine.host.exec("nft", f"add table ip filter; add chain ip {chain}; add table inet filter; add chain inet {chain}")
    mine.host.exec("nft", "add chain inet filter FLANNEL-FWD")  # it accepts, as long as it is there
    mine.up()
    said = one_line(mine, "drops what it forwards")
    assert "nft chain ip filter FORWARD" in said
    assert "let it accept from and to 10.2.0.0/16" in said
    assert mine.process is not None
    for root, words in ((mine.root, ()), (tmp_path / "second", ()), (tmp_path / "third", ("-etcd-prefix=/other",))):
        other = Node(mine.host, root)
        before = server.leases()
        other.start(*words)
        if words:  # its device is known once etcd has told its network
            other.wait("no key /other/config")
            server.ctl("put", "/other/config", json.dumps(CONFIG))
        assert other.exits() == 1
        assert f"weft flannel runs on this host already (pid {mine.process.pid}), with the " in other.said()
        assert server.leases() == before
    cleaner = Node(mine.host, tmp_path / "fourth")
    cleaner.start("--cleanup")
    assert cleaner.exits() == 1
    assert f"already (pid {mine.process.pid})" in cleaner.said()
    assert "flannel.1" in mine.host.ip("link")
    mine.kill()  # and locks nothing any more
    cleaner.start("--cleanup")
    assert cleaner.exits() == 0
    assert "flannel.1" not in mine.host.ip("link")
    mine.up()
