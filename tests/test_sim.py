"""`weft sim`: the fleets it makes are valid, and what an agent reads does not grow with the rest of the fleet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from weft.cli import main
from weft.model.errors import WeftError
from weft.model.validate import problems
from weft.sim.fleet import Size, fleet, port


@pytest.mark.parametrize(
    "size", [Size(2, 1, 1, 2), Size(7, 3, 40, 2), Size(30, 60, 500, 5), Size(12, 6, 1250, 12), Size(100, 50, 2000, 20)]
)
def test_fleets_are_valid_and_networks_are_spread(size: Size) -> None:
    intent = fleet(size)
    assert problems(intent) == []
    assert (len(intent.nodes), len(intent.networks), len(intent.ports)) == (size.nodes, size.networks, size.ports)
    for name in intent.networks:
        assert len({each.node for each in intent.ports.values() if each.network == name}) <= size.spread
    more = port(size, 0, size.ports // size.networks + 2, size.node_of(0, 1))
    assert problems(intent.merged(type(intent)(ports={more.name: more}))) == []


@pytest.mark.parametrize("size", [Size(1, 1, 1, 1), Size(5, 0, 1, 2), Size(5, 1, 1, 6), Size(5, 1, 100_000, 2)])
def test_numbers_that_make_no_fleet_are_refused(size: Size) -> None:
    with pytest.raises(WeftError):
        size.check()


def test_a_spread_over_more_nodes_than_there_are_is_told_as_such() -> None:
    with pytest.raises(WeftError) as caught:
        Size(5, 1, 10, 9).check()
    words = "--spread 9: a network's ports cannot stand on 9 of 5 nodes; choose 2 to 5, or more --nodes"
    assert str(caught.value) == words


@pytest.mark.system  # for its processes' time alone
def test_what_an_agent_reads_does_not_grow_with_the_fleet(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["sim", "--nodes", "32", "--networks", "32", "--ports", "640", "--spread", "2", "-o", "json"]
    assert main.run(words) == 0
    sizes: list[dict[str, Any]] = json.loads(capfd.readouterr().out)["sizes"]
    assert [size["ports"] for size in sizes] == [80, 160, 320, 640]
    assert [size["networks"] for size in sizes] == [2, 2, 2, 2]
    assert len({size["held"] for size in sizes}) == 1
    assert sizes[-1]["store"] > 6 * sizes[0]["store"]
    near = [size["events"]["port elsewhere in its network"] for size in sizes]
    far = [size["events"]["port in a network of others"] for size in sizes]
    assert {event["operations"] for event in near} == {2.0}
    assert {event["operations"] for event in far} == {0.0}
    assert max(event["octets"] for event in far) < 100


def test_another_run_in_the_same_store_is_refused_and_left_alone(tmp_path: Any, capfd: Any) -> None:
    words = ["sim", "--nodes", "2", "--networks", "1", "--ports", "2", "--spread", "2", "--store"]
    url = f"sqlite://{tmp_path}/weft.db"
    main.run(["--store", url, "--cluster", "weft-sim", "apply", "-f", _file(tmp_path)])
    assert main.run([*words, url]) == 1
    assert (
        "weft-sim is there already, and no run of sim made it; name another store, or delete the keys of /weft/"
        in capfd.readouterr().err
    )
    main.run(["--store", url, "--cluster", "weft-sim", "get", "nodes"])
    assert "h1" in capfd.readouterr().out


def _file(directory: Any) -> str:
    path = directory / "fleet.yaml"
    path.write_text("nodes:\n  h1: {vtep: 192.168.33.12}\n")
    return str(path)
