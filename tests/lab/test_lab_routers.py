"""Routed traffic while agents die and come back, and a route deleted under a running agent."""

from __future__ import annotations

import time

import pytest

from tests.conftest import REPOSITORY
from weft.lab import agents, inside, lab
from weft.lab.fleet import wait
from weft.lab.stream import stream
from weft.model.file import parse

pytestmark = pytest.mark.system


@pytest.mark.parametrize("file", ["07b-distributed-asymmetric", "07c-symmetric", "04b-centralized-control-plane"])
def test_agents_killed_and_restarted_during_routed_traffic_lose_nothing(name: str, file: str) -> None:
    document = parse({file: (REPOSITORY / "labs" / f"{file}.yaml").read_text()})
    place = lab.up(document, name)
    names = lab.names_of(name)
    source, target = ("vm-a", "vm-b") if file.startswith("04") else ("vm1", "vm5")
    nodes = [host.name for host in names.topology.hosts]

    def meanwhile() -> None:
        agents.stop(place)
        time.sleep(0.5)
        agents.start(place)
        wait(place, nodes, 30, lambda ready, of: None)

    ends = names.end_point(source), names.end_point(target)
    pinged = stream(
        ends[0].netns, ends[0].addresses[0], ends[1].addresses[0], count=400, interval=0.01, meanwhile=meanwhile
    )
    assert pinged.received == pinged.sent, str(pinged)


def test_a_route_deleted_by_somebody_is_back_within_a_second(name: str) -> None:
    path = REPOSITORY / "labs" / "08b-border-static.yaml"
    lab.up(parse({path.name: path.read_text()}), name)
    router = inside.find(lab.names_of(name), "gw1/tenant").netns
    assert inside.run(router, ["ip", "route", "del", "50.1.1.0/24"])[0] == 0
    deadline = time.monotonic() + 1
    while "50.1.1.0/24" not in inside.run(router, ["ip", "route"])[1]:
        assert time.monotonic() < deadline, "it did not come back"
        time.sleep(0.02)
