"""Routed traffic while agents die and come back, and a route deleted under a running agent."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.conftest import REPOSITORY
from weft.l3.inside import identity
from weft.lab import agents, inside, lab
from weft.lab.fleet import wait
from weft.lab.stream import stream
from weft.model.file import parse
from weft.netlink import namespace

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


def up(name: str, file: str) -> None:
    path = REPOSITORY / "labs" / f"{file}.yaml"
    lab.up(parse({path.name: path.read_text()}), name)


def again(seconds: float, what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come back"
        time.sleep(0.02)


def test_a_route_deleted_by_somebody_is_back_within_a_second(name: str) -> None:
    up(name, "08b-border-static")
    router = inside.find(lab.names_of(name), "gw1/tenant").netns
    assert inside.run(router, ["ip", "route", "del", "50.1.1.0/24"])[0] == 0
    again(1, lambda: "50.1.1.0/24" in inside.run(router, ["ip", "route"])[1])


def test_nat_and_a_whole_router_deleted_by_somebody_are_back_without_waiting_for_a_resync(name: str) -> None:
    up(name, "05b-nat")
    names = lab.names_of(name)
    router, source = inside.find(names, "vtep3/gw").netns, names.end_point("vm-a")
    assert inside.run(router, ["nft", "flush", "ruleset"])[0] == 0
    again(1, lambda: "masquerade" in inside.run(router, ["nft", "list", "ruleset"])[1])

    before = identity(router)
    namespace.delete(router)
    again(10, lambda: identity(router) not in (None, before))  # far below the resync's 60 s
    again(20, lambda: stream(source.netns, source.addresses[0], "10.1.20.1", count=1, interval=0.1).received == 1)
