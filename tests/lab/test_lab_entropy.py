"""Source-port entropy (RFC 7348 section 5): the outer source port is a hash of the inner flow, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from weft.lab import lab
from weft.model.file import parse
from weft.wire import pcapng
from weft.wire.packet import dissect

pytestmark = pytest.mark.system

FLOWS = 16


def test_flows_differ_in_the_outer_source_port_and_each_keeps_its_own(name: str, tmp_path: Path) -> None:
    path = REPOSITORY / "labs" / "02b-control-plane.yaml"
    text = path.read_text()
    steps = "".join(f"  - tcp: {{from: vm-a, to: vm-b, bytes: 20KB, port: {6000 + n}}}\n" for n in range(FLOWS))
    document = parse({str(path): text[: text.index("expect:")] + "expect:\n" + steps})
    assert lab.test(document, name=name, pcap=tmp_path).good
    ports: dict[int, set[int]] = {}
    for capture in tmp_path.rglob("*.pcapng"):
        for record in pcapng.read(capture.read_bytes()).records:
            packet = dissect(record.frame)
            tcp = packet.inner.tcp if packet.inner else None
            if packet.udp and tcp and tcp.dst_port in range(6000, 6000 + FLOWS):
                ports.setdefault(tcp.dst_port, set()).add(packet.udp.src_port)
    assert len(ports) == FLOWS
    assert all(len(used) == 1 for used in ports.values()), "one flow, one port: its packets stay in order"
    assert len({port for used in ports.values() for port in used}) > FLOWS // 2
