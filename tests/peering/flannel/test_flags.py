"""flanneld's flags: one dash or two, switches with values, the environment; and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from weft.cli import agent, flannel
from weft.cli.main import run
from weft.peering.flannel.options import Options
from weft.store.etcd.address import Address


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-etcd-endpoints", "ftp://x"], "-etcd-endpoints: 'ftp://x' is no endpoint; use http://HOST:2379"),
        (["-etcd-endpoints=http://a:1,https://b:1"], "http and https cannot be mixed"),
        (["-etcd-certfile", "x"], "a client certificate needs both -etcd-certfile and -etcd-keyfile"),
        (["-etcd-username", "x"], "-etcd-username needs -etcd-password; set FLANNELD_ETCD_PASSWORD"),
        (["-public-ip", "fd00::1"], "-public-ip is 'fd00::1'; use one address of this family"),
        (["-subnet-lease-renew-margin=0"], "-subnet-lease-renew-margin is 0; use 1 to 1439"),
        (["-healthz-port", "99999"], "-healthz-port is 99999; use 0 to 65535"),
        (["-healthz-port=-1"], "-healthz-port is -1; use 0 to 65535"),
        (["-iface-regex", "["], "-iface-regex '[' is no regular expression (unterminated character set"),
        (["-iface-can-reach=eth0"], "-iface-can-reach is 'eth0'; use one address"),
        (["-subnet-file", "/"], "-subnet-file / is a directory; name a file in it: /subnet.env"),
        (["-ip-masq=maybe"], "-ip-masq is 'maybe'; use true or false"),
        (["-kube-subnet-mgr"], "subnets come from etcd here, not from the Kubernetes API; keep flannel's own daemon"),
        (["-ip-blackhole-route"], "-ip-blackhole-route: weft makes no such route; make it yourself: ip route add"),
        (["-kube-api-url=x"], "no such option: -kube-api-url; see `weft flannel --help`"),
        (["-foo"], "no such option: -foo; see `weft flannel --help`"),
        (["--ifaces", "eth0"], "no such option: -ifaces; did you mean -iface?"),
    ],
)
def test_a_wrong_command_line_is_refused_at_once(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["flannel", *words]) == 2
    assert line.lower() in capsys.readouterr().err.lower()


def test_a_mistake_takes_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["flannel", "-iface-regex=a\nb["]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_packages_settings_are_variables_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    given = (REPOSITORY / "packaging/debian/weft-flannel.default").read_text()
    assert run(["flannel", "--help"]) == 0
    known = capsys.readouterr().out
    names = re.findall(r"^#(FLANNELD_\w+)=", given, re.MULTILINE)
    assert len(names) > 10
    assert [name for name in names if name not in known] == []


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Address, Options, tuple[str, int]]]:
    """What the daemon would be run with."""
    calls: list[Any] = []
    monkeypatch.setattr(agent, "configure", lambda log: None)
    monkeypatch.setattr(agent, "permitted", lambda: None)
    monkeypatch.setattr(flannel, "_run", lambda where, options, health, cleanup: calls.append((where, options, health)))
    return calls


def test_flags_in_every_form(taken: list[tuple[Address, Options, tuple[str, int]]]) -> None:
    words = ["-etcd-endpoints", "https://a:2379,https://b", "--etcd-prefix=/x//net/", "-iface", "eth0", "--iface=eth1"]
    words += ["-ip-masq=true", "-healthz-port=8471", "-v=2", "-iptables-forward-rules=false", "-keep-lease"]
    words += ["-kube-subnet-mgr=false", "-ip-masq-fully-random-disable", "-set-node-network-unavailable=true"]
    words += ["-vmodule=x=1", "-log_backtrace_at", ":0", "-net-config-path=/x", "-ip-blackhole-route=false"]
    assert run(["flannel", *words]) == 0
    where, options, health = taken[0]
    assert (where.endpoints, where.tls, where.prefix) == (("a:2379", "b:2379"), True, "/x/net/")
    assert options.wish.interfaces == ("eth0", "eth1")
    assert (options.masquerade, options.fully_random, options.keep_lease, options.margin) == (True, False, True, 3600.0)
    assert health == ("0.0.0.0", 8471)


def test_a_value_may_look_like_a_flag(taken: list[tuple[Address, Options, tuple[str, int]]]) -> None:
    words = ["-etcd-username", "-iface", "-etcd-password", "-foo=bar", "-no-ip-masq=false", "-cleanup=false"]
    assert run(["flannel", *words]) == 0
    where, options, _ = taken[0]
    assert (where.user, where.password, options.masquerade) == ("-iface", "-foo=bar", True)


@pytest.mark.parametrize("word", ["-h", "-help", "--help"])
def test_help_in_every_form(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["flannel", word]) == 0
    assert capsys.readouterr().out.startswith("Usage: weft flannel ")


def test_the_environment_and_the_defaults(
    taken: list[tuple[Address, Options, tuple[str, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "IP_MASQ": "true", "ETCD_PASSWORD": "secret", "ETCD_USERNAME": "me", "PUBLIC_IP": "1.2.3.4", "IFACE": "eth7",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"FLANNELD_{name}", value)
    assert run(["flannel", "-ip-masq=false"]) == 0
    where, options, health = taken[0]
    assert (where.endpoints, where.prefix) == (("127.0.0.1:4001", "127.0.0.1:2379"), "/coreos.com/network/")
    assert (where.user, where.password) == ("me", "secret")
    assert options.subnet_file == Path("/run/flannel/subnet.env")
    assert (options.masquerade, str(options.wish.public), options.wish.interfaces) == (False, "1.2.3.4", ("eth7",))
    assert health == ("0.0.0.0", 0)
