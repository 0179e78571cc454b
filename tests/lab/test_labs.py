"""Every file in labs/: it holds as it is, each of its mutations is noticed, and tshark reads its captures as we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.tshark import comparable, judged, ours
from weft.lab import lab
from weft.model.file import Document, parse
from weft.wire import pcapng
from weft.wire.describe import describe
from weft.wire.packet import dissect
from weft.wire.verify import wrong_checksums

pytestmark = pytest.mark.system

LABS = sorted((REPOSITORY / "labs").glob("*.yaml"))


def document(path: Path) -> Document:
    return parse({str(path): path.read_text()})


def cases() -> list[Any]:
    return [
        pytest.param(path, mutation.name, id=f"{path.stem}-{mutation.name}")
        for path in LABS
        for mutation in document(path).lab.mutations
    ]


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_a_lab_holds_and_tshark_agrees(path: Path, name: str, tmp_path: Path) -> None:
    tested = lab.test(document(path), name=name, pcap=tmp_path / "captures")
    assert [f"line {v.line}: {v.what}: {v.detail}" for v in tested.verdicts if not v.ok] == []
    captures = sorted((tmp_path / "captures").rglob("*.pcapng"))
    assert captures
    for capture in captures:
        assert_tshark_agrees(capture)


@pytest.mark.parametrize(("path", "mutation"), cases())
def test_a_mutation_is_noticed(path: Path, mutation: str, name: str) -> None:
    tested = lab.test(document(path), name=name, mutation=mutation)
    assert tested.good, f"no step of {path.name} noticed {mutation}"


def assert_tshark_agrees(capture: Path) -> None:
    """Field by field over every frame; checksums are right, since labs capture with offloads off."""
    frames = [record.frame for record in pcapng.read(capture.read_bytes()).records]
    for frame, layers in zip(frames, judged(capture), strict=True):
        packet = dissect(frame)
        assert packet.error == ""
        wrong = wrong_checksums(packet)
        assert wrong == (), describe(packet)
        assert comparable(ours(packet, wrong)) == comparable(layers), describe(packet)
