"""What a worker tells of itself while it forwards."""

from __future__ import annotations

import sys
import threading

import pytest

from weft.l2.user.receiver import Own
from weft.l2.user.worker import Worker
from weft.model.network import SegmentKey

KEY = SegmentKey(4789, 5000)


@pytest.fixture
def worker() -> Worker:
    return Worker("default", Own())


def test_counters_of_what_is_gone_are_forgotten(worker: Worker) -> None:
    tally = worker.engine.ingress.tally
    tally.port_out["gone"] = tally.port_out_octets["gone"] = tally.tunnel_in[KEY] = tally.drops["hairpin"] = 1
    counts = worker.count()
    assert (counts.ports, counts.segments, counts.drops["hairpin"]) == ({}, (), 1)
    assert not tally.port_out
    assert not tally.port_out_octets
    assert not tally.tunnel_in


def test_counting_beside_first_frames(worker: Worker) -> None:
    """A port's first frame, or a first drop, adds a counter while they are read."""
    interval = sys.getswitchinterval()
    drops, done = worker.engine.egress.tally.drops, threading.Event()

    def forward() -> None:
        number = 0
        while not done.is_set():
            number += 1
            drops[f"reason {number % 3000}"] += 1
            if not number % 3000:
                drops.clear()

    forwarding = threading.Thread(target=forward)
    sys.setswitchinterval(1e-6)
    forwarding.start()
    try:
        for _ in range(100):
            worker.count()
    finally:
        done.set()
        forwarding.join()
        sys.setswitchinterval(interval)
