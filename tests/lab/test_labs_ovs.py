"""Labs of scenarios 2, 3, 4, 6, 7 and 8 with `datapath: ovs` on every node: the same steps hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.lab.test_labs import assert_tshark_agrees
from weft.lab import lab
from weft.model.file import Document, parse

pytestmark = pytest.mark.system

NAMES = (
    "02-ingress-replication",
    "02b-control-plane",
    "02c-ipv6-underlay",
    "02d-learning",
    "03-routed-underlay",
    "03b-narrow-underlay",
    "04b-centralized-control-plane",
    "06-proxy-data-plane",
    "06b-proxy-control-plane",
    "07b-distributed-asymmetric",
    "07c-symmetric",
    "08-border-data-plane",
    "08d-two-borders",
)
LABS = [REPOSITORY / "labs" / f"{name}.yaml" for name in NAMES]
_NODE = re.compile(r'\{vtep: ("?)([0-9a-f.:]+)\1\}')


def on_ovs(path: Path) -> Document:
    """The lab with all its nodes on Open vSwitch, which floods to a list where others flood to a group."""
    text = _NODE.sub(r'{vtep: "\2", datapath: ovs}', path.read_text())
    text = text.replace(', flood: {group: "ff05::6000"}', "").replace("vtep1>ff05::6000", "vtep1>vtep3")
    assert text.count("datapath: ovs") == text.count("{vtep:")
    return parse({str(path): text})


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_a_lab_holds_on_ovs_and_tshark_agrees(path: Path, name: str, tmp_path: Path) -> None:
    tested = lab.test(on_ovs(path), name=name, pcap=tmp_path / "captures")
    assert [f"line {v.line}: {v.what}: {v.detail}" for v in tested.verdicts if not v.ok] == []
    for capture in sorted((tmp_path / "captures").rglob("*.pcapng")):
        assert_tshark_agrees(capture)


@pytest.mark.parametrize(
    ("stem", "kinds"),
    [("07-distributed-data-plane", ("kernel", "ovs", "ovs")), ("07c-symmetric", ("ovs", "kernel", "user"))],
    ids=["relay", "l3-vni"],
)
def test_a_lab_spans_several_datapaths(stem: str, kinds: tuple[str, ...], name: str) -> None:
    """The ARP relay between kernel and switches, a port moving from one to the other; symmetric IRB between a switch's
    segment, a vxlan device of the kernel and the user VTEP."""
    path = REPOSITORY / "labs" / f"{stem}.yaml"
    text = path.read_text()
    for number, kind in enumerate(kinds, 1):
        text = text.replace(f"{{vtep: 192.168.33.{number}}}", f"{{vtep: 192.168.33.{number}, datapath: {kind}}}")
    assert text.count("datapath:") == 3
    tested = lab.test(parse({str(path): text}), name=name)
    assert [f"line {v.line}: {v.what}: {v.detail}" for v in tested.verdicts if not v.ok] == []
