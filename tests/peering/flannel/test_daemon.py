"""`weft flannel` with a real etcd: leases, subnets, what peers come to know, and what survives."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.frozen import freeze, thaw
from tests.peering.flannel.etcd import PREFIX, Etcd
from tests.peering.flannel.fabric import Fabric
from tests.peering.flannel.node import Node, until
from weft.netlink import namespace

pytestmark = pytest.mark.system
Make = Callable[..., Node]
VXLAN = {
    "Network": "10.2.0.0/16", "SubnetLen": 24, "SubnetMin": "10.2.1.0", "SubnetMax": "10.2.20.0",
    "Backend": {"Type": "VXLAN"},
}  # fmt: skip
PEER = (
    '{"PublicIP":"192.168.136.14","PublicIPv6":null,"BackendType":"vxlan",'
    '"BackendData":{"VNI":1,"VtepMAC":"8a:b9:c1:1c:0a:5e"}}'
)
ROUTE = "10.2.14.0/24 via 10.2.14.0 dev flannel.1"


def test_a_lease_is_as_flannels_daemon_writes_it_and_is_given_back(server: Etcd, node: Make) -> None:
    server.put("config", VXLAN)
    server.put("subnets/10.2.14.0-24", PEER)
    mine = node(5, "-ip-masq")
    mine.pin("10.2.5.0/24")
    mine.up()
    mac = mine.host.mac("flannel.1")
    assert server.leases() == {
        "subnets/10.2.14.0-24": PEER,
        "subnets/10.2.5.0-24": '{"PublicIP":"192.168.136.5","PublicIPv6":null,"BackendType":"vxlan",'
        f'"BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}}}',
    }
    remaining = json.loads(
        server.ctl("lease", "timetolive", f"{server.etcd_lease('subnets/10.2.5.0-24'):x}", "-w", "json").stdout
    )
    assert remaining["granted-ttl"] == 86400
    assert mine.subnet_file.read_text() == (
        "FLANNEL_NETWORK=10.2.0.0/16\nFLANNEL_SUBNET=10.2.5.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    assert mine.host.routes() == {ROUTE}
    table = mine.host.exec("nft", "list", "table", "inet", "weft-flannel")
    assert "ip saddr 10.2.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random" in table
    assert "ip saddr != 10.2.0.0/16 ip daddr 10.2.5.0/24 return" in table

    mine.end(signal.SIGKILL)
    mine.up("-ip-masq-fully-random-disable")
    assert "fully-random" not in mine.host.exec("nft", "list", "ruleset")
    mine.host.do("nft delete table inet weft-flannel")
    until(lambda: "masquerade" in mine.host.exec("nft", "list", "ruleset"), "masquerading does not come back")
    assert mine.end() == 0
    assert set(server.leases()) == {"subnets/10.2.14.0-24"}
    assert mine.host.routes() == {ROUTE}  # packets go on flowing
    mine.start("--cleanup")
    assert mine.exits() == 0
    assert mine.host.routes() == set()
    assert "flannel.1" not in mine.host.ip("link")
    assert "weft-flannel" not in mine.host.exec("nft", "list", "ruleset")


def test_what_peers_do_is_followed(server: Etcd, node: Make) -> None:
    server.put("config", VXLAN)
    mine = node(5)
    mine.pin("10.2.5.0/24")
    mine.up()
    server.put("subnets/10.2.14.0-24", PEER)
    until(lambda: mine.host.routes() == {ROUTE}, "the route does not come")
    assert mine.host.fdb("flannel.1") == {"8a:b9:c1:1c:0a:5e 192.168.136.14"}
    server.put("subnets/10.2.14.0-24", PEER.replace("8a:b9", "8a:ff"))
    until(lambda: mine.host.neighbors("flannel.1") == {"10.2.14.0 8a:ff:c1:1c:0a:5e"}, "the MAC does not change")
    assert mine.host.fdb("flannel.1") == {"8a:ff:c1:1c:0a:5e 192.168.136.14"}
    server.put("subnets/10.2.15.0-24", "garbage")
    server.put("subnets/10.9.15.0-24", PEER)
    server.delete("subnets/10.2.14.0-24")
    until(lambda: mine.host.routes() == set(), "the route does not go")
    assert mine.host.fdb("flannel.1") == mine.host.neighbors("flannel.1") == set()
    assert "lease subnets/10.2.15.0-24: its value is not a lease" in mine.said()
    assert "lease subnets/10.9.15.0-24: 10.9.15.0/24 is not in the network 10.2.0.0/16" in mine.said()


def test_eight_daemons_at_once_get_eight_subnets(server: Etcd, node: Make) -> None:
    server.put("config", VXLAN | {"SubnetMax": "10.2.8.0"})
    nodes = [node(number) for number in range(11, 19)]
    for each in nodes:
        each.start()
    for each in nodes:
        each.wait()
    leases = {key: json.loads(value)["PublicIP"] for key, value in server.leases().items()}
    assert sorted(leases) == [f"subnets/10.2.{third}.0-24" for third in range(1, 9)]
    assert sorted(leases.values()) == [f"192.168.136.{number}" for number in range(11, 19)]
    for each in nodes:
        until(lambda each=each: len(each.host.routes()) == 7, "not every route is there")  # type: ignore[misc]


def test_a_lost_lease_is_taken_again(server: Etcd, node: Make) -> None:
    server.put("config", VXLAN)
    mine = node(5)
    mine.pin("10.2.5.0/24")
    mine.up()
    value = server.leases()["subnets/10.2.5.0-24"]
    server.delete("subnets/10.2.5.0-24")
    until(lambda: server.leases() == {"subnets/10.2.5.0-24": value}, "it is not taken again")
    revoked = server.etcd_lease("subnets/10.2.5.0-24")
    server.ctl("lease", "revoke", f"{revoked:x}")
    until(lambda: server.leases() == {"subnets/10.2.5.0-24": value}, "it is not taken again")
    assert server.etcd_lease("subnets/10.2.5.0-24") not in (0, revoked)


def test_another_address_of_the_host_changes_the_lease_in_place(server: Etcd, node: Make) -> None:
    server.put("config", VXLAN)
    mine = node(5, "-keep-lease")
    mine.pin("10.2.5.0/24")
    mine.up()
    lease = server.etcd_lease("subnets/10.2.5.0-24")
    mine.host.do("ip address add 192.168.136.55/24 dev eth0")
    mine.host.do("ip address del 192.168.136.5/24 dev eth0")
    mine.host.do("ip address add 192.168.136.55/24 dev eth0") if "136.55" not in mine.host.ip("address") else None
    until(lambda: "192.168.136.55" in server.leases()["subnets/10.2.5.0-24"], "the lease does not change")
    assert list(server.leases()) == ["subnets/10.2.5.0-24"]
    assert server.etcd_lease("subnets/10.2.5.0-24") == lease

    def local() -> str:
        found: str = mine.host.json("link", "show", "flannel.1")[0]["linkinfo"]["info_data"]["local"]
        return found

    until(lambda: local() == "192.168.136.55", "the device keeps the old address")
    mine.end()
    mine.host.do("ip address add 192.168.136.66/24 dev eth0")
    mine.host.do("ip address del 192.168.136.55/24 dev eth0")
    if "136.66" not in mine.host.ip("address"):
        mine.host.do("ip address add 192.168.136.66/24 dev eth0")
    mine.up()  # it changed while the daemon was down
    assert list(server.leases()) == ["subnets/10.2.5.0-24"]
    assert "192.168.136.66" in server.leases()["subnets/10.2.5.0-24"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_restart_writes_nothing(server: Etcd, node: Make, number: signal.Signals) -> None:
    server.put("config", VXLAN)
    server.put("subnets/10.2.14.0-24", PEER)
    mine = node(5, "-keep-lease", "-ip-masq")
    mine.pin("10.2.5.0/24")
    mine.up()
    until(lambda: mine.host.routes() == {ROUTE}, "the route does not come")
    revision, rules = server.modified("subnets/10.2.5.0-24"), mine.host.exec("nft", "-a", "list", "ruleset")
    with (mine.root / "monitor").open("wb") as out:
        told = subprocess.Popen(["ip", "-n", mine.host.namespace, "monitor", "link", "address", "route"], stdout=out)
        try:
            mine.end(number)
            mine.up()
            mine.host.do("ip link set lo down")  # the end of what is of interest
            until(lambda: b"lo:" in (mine.root / "monitor").read_bytes(), "ip monitor says nothing")
        finally:
            told.kill()
            told.wait()
    assert "flannel" not in (mine.root / "monitor").read_text()
    assert server.modified("subnets/10.2.5.0-24") == revision
    assert mine.host.exec("nft", "-a", "list", "ruleset") == rules


def test_a_reservation_is_taken_and_stays_one(server: Etcd, node: Make) -> None:
    server.put("config", VXLAN)
    server.put("subnets/10.2.7.0-24", {"PublicIP": "192.168.136.5"})
    mine = node(5)
    mine.up()
    assert list(server.leases()) == ["subnets/10.2.7.0-24"]
    assert server.etcd_lease("subnets/10.2.7.0-24") == 0
    assert "FLANNEL_SUBNET=10.2.7.1/24" in mine.subnet_file.read_text()
    mine.end()
    assert list(server.leases()) == ["subnets/10.2.7.0-24"]
    assert server.etcd_lease("subnets/10.2.7.0-24") == 0


def test_compacted_history_loses_nothing(server: Etcd, node: Make) -> None:
    server.put("config", VXLAN)
    server.put("subnets/10.2.14.0-24", PEER)
    mine = node(5)
    mine.pin("10.2.5.0/24")
    mine.up()
    assert mine.process is not None
    freeze(mine.process.pid)
    try:
        server.delete("subnets/10.2.14.0-24")
        server.put("subnets/10.2.16.0-24", PEER.replace("136.14", "136.16"))
        revision = server.modified("subnets/10.2.16.0-24")
        server.ctl("compact", str(revision))
    finally:
        thaw(mine.process.pid)
    route = "10.2.16.0/24 via 10.2.16.0 dev flannel.1"
    until(lambda: mine.host.routes() == {route}, lambda: f"{mine.said()}\n{mine.host.routes()}")


def test_dual_stack(server: Etcd, node: Make, hosts: Fabric) -> None:
    server.put("config", VXLAN | {"EnableIPv6": True, "IPv6Network": "fc00::/48"})
    nodes = [node(5), node(14)]
    for each in nodes:
        each.up()
    keys = sorted(server.leases())
    assert len(keys) == 2
    for each in nodes:
        until(lambda each=each: len(each.host.routes()) == 2, "not both routes are there")  # type: ignore[misc]
        text = each.subnet_file.read_text()
        assert "FLANNEL_IPV6_NETWORK=fc00::/48" in text
        assert "FLANNEL_MTU=1430" in text
    one, two = (re.findall(r"IPV6_SUBNET=(.*)/", each.subnet_file.read_text())[0] for each in nodes)
    for each, address in zip(nodes, (one, two), strict=True):
        each.host.ip("address", "add", f"{address}/128", "dev", "lo")
    nodes[0].host.do(f"ping -6 -c 2 -i 0.2 -W 10 -I {one} {two}")


def test_health_tells_when_it_is_ready(node: Make, server: Etcd, tmp_path: Path) -> None:
    mine = node(5, "-healthz-port", "8471", "-healthz-ip=127.0.0.1")
    mine.start()
    mine.wait("has no key")

    def page(path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", 8471, timeout=60)
        with namespace.entered(mine.host.namespace):
            connection.connect()
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        text = answer.read().decode() + str(answer.status)
        connection.close()
        return text

    assert page("readyz") == "not ready yet\n503"
    assert page("healthz").endswith("200")
    assert f"etcd has no key {PREFIX}/config" in page("healthz")
    server.put("config", VXLAN)
    mine.wait()
    assert page("readyz") == "ready\n200"
    assert page("healthz") == "ok\n200"
