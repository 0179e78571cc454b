"""The labs of scenarios 1 to 3, with the user datapath on every host, and with both datapaths in one network; and labs
with routers: where IRBs, proxy ARP and anycast gateways stand on it, the same steps hold.

Their mutations reach for the kernel's own devices, and are for the kernel datapath to notice.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.l2.user.stage import on_user
from tests.lab.test_labs import assert_tshark_agrees
from weft.lab import lab
from weft.model.file import Document, parse

pytestmark = pytest.mark.system

LABS = [path for path in sorted((REPOSITORY / "labs").glob("0[123]*.yaml")) if "datapath:" not in path.read_text()]
ROUTED = [
    REPOSITORY / "labs" / f"{name}.yaml"
    for name in (
        "06-proxy-data-plane",
        "06b-proxy-control-plane",
        "07-distributed-data-plane",
        "07b-distributed-asymmetric",
        "07c-symmetric",
        "08b-border-static",
    )
]
MIXED = ("07-distributed-data-plane", "07b-distributed-asymmetric")


def document(path: Path, mixed: bool) -> Document:
    """The lab with `datapath: user` on all nodes, or on all but the first."""
    text = on_user(path.read_text())
    if mixed:
        text = text.replace(", datapath: user", "", 1)
    return parse({str(path): text.replace("bytes: 4MB", "bytes: 100kB")})


@pytest.mark.parametrize("mixed", [False, True], ids=["user", "mixed"])
@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_a_lab_holds(path: Path, mixed: bool, name: str, tmp_path: Path) -> None:
    assert failures(document(path, mixed), name, tmp_path / "captures") == []


@pytest.mark.parametrize("path", ROUTED, ids=lambda path: path.stem)
def test_a_lab_with_routers_holds(path: Path, name: str, tmp_path: Path) -> None:
    assert failures(document(path, mixed=path.stem in MIXED), name, tmp_path / "captures") == []


def failures(document: Document, name: str, place: Path) -> list[str]:
    """The steps that do not hold; every capture is one that tshark agrees with."""
    tested = lab.test(document, name=name, pcap=place)
    captures = sorted(place.rglob("*.pcapng"))
    assert captures
    for capture in captures:
        assert_tshark_agrees(capture)
    return [f"line {v.line}: {v.what}: {v.detail}" for v in tested.verdicts if not v.ok]
