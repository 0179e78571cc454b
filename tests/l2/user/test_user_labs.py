"""The labs of scenarios 1 to 3, with the user datapath on all hosts, and with both datapaths in one network; those with

Their mutations reach for the kernel's own devices, and are for the kernel datapath to notice.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.lab.test_labs import assert_tshark_agrees
from weft.lab import lab
from weft.model.file import Document, parse

pytestmark = pytest.mark.system

# 02d is about local learning, which the user datapath does not have.
LABS = [
    path
    for path in sorted((REPOSITORY / "labs").glob("0[123]*.yaml"))
    if "datapath:" not in path.read_text() and path.stem != "02d-learning"
]
_NODE = re.compile(r'^(  \w+: \{vtep: (?:"[^"]+"|[^,}\s]+))', re.MULTILINE)


def document(path: Path, mixed: bool) -> Document:
    """The lab with `datapath: user` on all nodes, or on all but the first."""
    text, changed = _NODE.subn(r"\1, datapath: user", path.read_text())
    assert changed >= 2
    if mixed:
        text = text.replace(", datapath: user", "", 1)
    return parse({str(path): text})


@pytest.mark.parametrize("mixed", [False, True], ids=["user", "mixed"])
@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_a_lab_holds(path: Path, mixed: bool, tmp_path: Path) -> None:
    tested = lab.test(document(path, mixed), name=f"u-{path.stem}"[:40], pcap=tmp_path)
    assert [f"line {v.line}: {v.what}: {v.detail}" for v in tested.verdicts if not v.ok] == []
    captures = sorted(tmp_path.rglob("*.pcapng"))
    assert captures
    for capture in captures:
        assert_tshark_agrees(capture)
