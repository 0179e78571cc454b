"""Commands that need a kernel: the demo, a lab by command line, doctor and show in it; as root and as nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Weft

pytestmark = pytest.mark.system

PAIR = """\
nodes:
  h1: {vtep: 192.168.33.1}
  h2: {vtep: 192.168.34.1}
networks:
  blue: {vni: 5000, subnet: 10.1.1.0/24, mtu: 1350}
ports:
  a: {network: blue, node: h1, ips: [10.1.1.1]}
  b: {network: blue, node: h2, ips: [10.1.1.2]}
lab:
  underlay:
    segments: {left: 192.168.33.0/24, middle: {subnet: 192.168.35.0/24, mtu: 1400}, right: 192.168.34.0/24}
    routers: {r1: [left, middle], r2: [middle, right]}
expect:
  - ping: {from: a, to: b}
  - ping: {from: a, to: b, size: 1351, df: true}
    not: true
mutations:
  no-way: {h1: ["ip link set eth1 down"]}
  none-at-all: {h1: ["ip link show eth1"]}
"""


@pytest.fixture
def lab(weft: Weft) -> Iterator[str]:
    name = f"cli-{os.getpid()}"
    weft.file(PAIR, "pair.yaml")
    up = weft.process("lab", "up", "pair.yaml", "--name", name)
    assert up.code == 0, up
    try:
        yield name
    finally:
        weft.process("lab", "down", name)


def test_a_lab_by_command_line(weft: Weft, lab: str) -> None:
    assert [each["name"] for each in json.loads(weft("lab", "list", "-o", "json").out)] == [lab]
    assert weft.process("--lab", lab, "status").code == 0
    assert weft.process("lab", "exec", "a", "--", "ping", "-c", "1", "-W", "10", "10.1.1.2").code == 0
    assert weft.process("lab", "exec", f"{lab}:h1", "--", "sh", "-c", "exit 7").code == 7
    rows = json.loads(weft.process("--lab", lab, "show", "fdb", "--node", "h1", "-o", "json").out)
    assert [(row["vtep"], row["node"], row["state"]) for row in rows] == [("192.168.34.1", "h2", "ok")]
    _subnet_file(weft, lab)
    assert weft.process("lab", "up", "pair.yaml", "--name", lab).code == 1
    assert weft.process("lab", "down", lab).out == f"lab {lab} is down\n"
    assert weft("lab", "list").out == "no lab is up\n"


def _subnet_file(weft: Weft, lab: str) -> None:
    weft.file("networks:\n  pods: {vni: 1, subnet: 10.2.0.0/16, routed: {prefixes: {h1: 10.2.5.0/24}}}\n", "pods.yaml")
    assert weft.process("--lab", lab, "apply", "-f", "pods.yaml", "--wait").code == 0
    text = "FLANNEL_NETWORK=10.2.0.0/16\nFLANNEL_SUBNET=10.2.5.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
    assert weft.process("--lab", lab, "subnet-file", "pods", "--node", "h1").out == text
    file = weft.directory / "run/flannel/subnet.env"
    assert weft.process("--lab", lab, "subnet-file", "pods", str(file), "--node", "h1").code == 0
    written = file.stat()
    assert file.read_text() == text
    assert weft.process("--lab", lab, "subnet-file", "pods", str(file), "--node", "h1").code == 0
    assert file.stat().st_ino == written.st_ino
    for words, why in {
        ("blue", "--node", "h1"): "network blue: is not routed: its nodes have no prefixes; `weft get networks`",
        ("pods", "--node", "h9"): "network pods: node h9 has no prefix of it",
        ("none", "--node", "h1"): "network none: is not stored",
        ("pods", "/proc/none/x", "--node", "h1"): "subnet file /proc/none/x: cannot write it: no such file",
    }.items():
        answer = weft.process("--lab", lab, "subnet-file", *words)
        assert answer.code == 1
        assert why in answer.err


def test_apply_waits_for_the_lab_and_doctor_finds_the_narrow_path(weft: Weft, lab: str) -> None:
    well = weft.process("--lab", lab, "doctor", "--node", "h1")
    assert well.code == 0, well
    assert "h2 (192.168.34.1): 1400 octets pass" in well.out
    weft.file(
        "networks:\n  wide: {vni: 6000, subnet: 10.6.0.0/24}\n"
        "ports:\n  w1: {network: wide, node: h1, attach: host}\n  w2: {network: wide, node: h2, attach: host}\n",
        "wide.yaml",
    )
    applied = weft.process("--lab", lab, "apply", "-f", "wide.yaml", "--wait")
    assert applied.code == 0, applied
    assert applied.out.endswith("in sync: 2 of 2\n")
    ill = weft.process("--lab", lab, "doctor", "--node", "h1", "-o", "json")
    assert ill.code == 1
    failed = [check for check in json.loads(ill.out) if check["state"] == "fail"]
    assert [check["name"] for check in failed] == ["path"]
    assert "wide" in failed[0]["what"]
    assert "1350" in failed[0]["remedy"]


def test_lab_test_tells_each_step_and_each_mutation(weft: Weft) -> None:
    weft.file(PAIR, "pair.yaml")
    name = f"cli-{os.getpid()}"
    answer = weft.process("lab", "test", "pair.yaml", "--name", name, "--mutations", "--pcap", "captures")
    assert answer.code == 1, answer
    assert answer.out.count("✓") == 3
    assert "✓ mutation no-way  noticed by line 14, ping a → b" in answer.out
    assert "✗ mutation none-at-all  no step noticed it" in answer.out
    assert {path.suffix for path in (weft.directory / "captures").iterdir()} == {".pcapng"}
    assert weft("lab", "list").out == "no lab is up\n"
    assert weft.process("lab", "test", "pair.yaml", "--name", name).code == 0


def seen_in_demo(text: str) -> None:
    assert text.count("✓") == 8
    assert "✗" not in text
    assert "VXLAN     VNI 5000" in text
    assert "192.168.33.12 → 192.168.33.13, TTL 64" in text
    assert "10.1.1.11 → 10.1.1.12, TTL 64" in text


def test_demo(weft: Weft) -> None:
    answer = weft.process("demo")
    assert answer.code == 0, answer
    seen_in_demo(answer.out)
    assert weft("lab", "list").out == "no lab is up\n"


def test_demo_as_an_ordinary_user(tmp_path: Path) -> None:
    home = Path("/tmp") / f"weft-nobody-{os.getpid()}"  # tmp_path is below a directory of root's alone
    home.mkdir()
    os.chown(home, 65534, 65534)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "weft", "demo"],
            capture_output=True,
            text=True,
            check=False,
            cwd=home,
            env=environment,
            user=65534,
            group=65534,
            extra_groups=[],
        )
        assert answer.returncode == 0, answer
        seen_in_demo(answer.stdout)
        assert list((home / ".local/state/weft/labs").iterdir()) == []
    finally:
        subprocess.run(["rm", "-r", str(home)], check=True)
