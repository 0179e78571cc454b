"""`weft flannel` where etcd wants TLS, a client certificate and a user: let in, and what it says where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peering.flannel.etcd import ADDRESS, PREFIX, Etcd, etcd
from tests.peering.flannel.fabric import Fabric
from tests.peering.flannel.node import Node
from tests.store.etcd_certificates import certificates

pytestmark = pytest.mark.system
Make = Callable[..., Node]
WHERE = f"https://{ADDRESS}:2379"


@pytest.fixture
def guarded(hosts: Fabric, tmp_path: Path) -> Iterator[Etcd]:
    """TLS, client certificates, and users: `flannel` may use the network's keys, `guest` nothing."""
    (tmp_path / "tls").mkdir()
    made = certificates(tmp_path / "tls", ADDRESS)
    with etcd(hosts, tmp_path / "etcd", certificates=made) as server:
        server.put("config", '{"Network": "10.2.0.0/16", "Backend": {"Type": "vxlan"}}')
        for command in (
            "user add root:r00t", "user add flannel:s3c/ret", "user add guest:guest", "role add net",
            f"role grant-permission net --prefix=true readwrite {PREFIX}/", "user grant-role flannel net",
            "auth enable",
        ):  # fmt: skip
            server.ctl(*command.split())
        server.login = ("--user", "root:r00t")
        yield server


def flags(root: Path, ca: str = "ca") -> tuple[str, ...]:
    shown = ("-etcd-certfile", f"{root}/client.pem", f"-etcd-keyfile={root}/client.key")
    return ("-etcd-cafile", f"{root}/{ca}.pem", *shown)


def test_flags_and_environment_let_it_in(guarded: Etcd, node: Make, tmp_path: Path) -> None:
    password = {"FLANNELD_ETCD_PASSWORD": "s3c/ret"}
    mine = node(5, *flags(tmp_path / "tls"), "-etcd-username=flannel", endpoints=WHERE, environment=password)
    mine.pin("10.2.5.0/24")
    mine.up()
    assert list(guarded.leases()) == ["subnets/10.2.5.0-24"]
    assert mine.end() == 0
    assert guarded.leases() == {}
    files = {"CAFILE": "ca.pem", "CERTFILE": "client.pem", "KEYFILE": "client.key"}
    mine.words = ()
    mine.environment = {f"FLANNELD_ETCD_{name}": f"{tmp_path}/tls/{file}" for name, file in files.items()}
    mine.environment |= password | {"FLANNELD_ETCD_USERNAME": "flannel"}
    mine.up()
    assert list(guarded.leases()) == ["subnets/10.2.5.0-24"]
    assert "s3c" not in mine.log()


def test_what_is_not_let_in_is_told_why(guarded: Etcd, node: Make, tmp_path: Path) -> None:
    """Side by side. Those that time may mend wait and say so once; the others end."""
    tls, user = tmp_path / "tls", "-etcd-username"
    waiting = {
        (WHERE, *flags(tls, "other")): "its certificate is not trusted (unable to get local issuer certificate)); "
        "name the authority that signed it: -etcd-cafile FILE",
        (WHERE, "-etcd-cafile", f"{tls}/ca.pem"): "-etcd-certfile FILE -etcd-keyfile FILE",
        (WHERE.replace("https", "http"),): "where it wants TLS: -etcd-endpoints https://HOST:2379",
    }
    ending = {
        (WHERE, *flags(tls), user, "flannel", "-etcd-password=wr0ng"): "etcd does not accept user flannel (",
        (WHERE, *flags(tls)): "etcd wants a user; give -etcd-username, and the password in FLANNELD_ETCD_PASSWORD",
        (WHERE, *flags(tls), user, "guest", "-etcd-password=guest"): "etcd refuses user guest (permission denied); "
        "give the user a role that may read and write the keys",
        (WHERE, *flags(tls, "missing")): f"cannot use the certificates ({tls}/missing.pem, {tls}/client.pem, "
        f"{tls}/client.key): [Errno 2] No such file or directory; name readable PEM files",
    }
    cases = {**waiting, **ending}
    nodes = {words: node(number, *words[1:], endpoints=words[0]) for number, words in enumerate(cases, 5)}
    for each in nodes.values():
        each.start()
    for words, why in waiting.items():
        nodes[words].wait(why)
    for words in ending:
        assert nodes[words].exits() in (1, 2), nodes[words].said()
    for words, each in nodes.items():
        assert "wr0ng" not in each.said()
        assert all(cases[words] in line for line in each.said().splitlines()), each.said()
        assert words in ending or (each.process is not None and each.process.poll() is None)
    assert guarded.leases() == {}
