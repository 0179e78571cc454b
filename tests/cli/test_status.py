"""status, and waiting for agents: what is told of reports that stand in the store."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import FLEET, Weft
from tests.cli.test_mistakes import picture, put
from weft.agent.status import Status
from weft.store.records import Keys, encode


def report(weft: Weft, node: str, **values: object) -> None:
    revision = picture(weft)[0]
    told = {"version": "9.9", "datapath": "kernel", "revision": revision, "in_sync": True, "time": 1.0} | values
    put(weft, Keys().status + node, encode(Status(node=node, **told)))  # type: ignore[arg-type]


def alive(weft: Weft, node: str) -> None:
    put(weft, Keys().alive + node, b"{}")


def test_a_fleet_in_sync(weft: Weft) -> None:
    weft.apply(FLEET)
    for node in ("h1", "h2"):
        report(weft, node, rows=7, notes=("routers come later",))
        alive(weft, node)
    answer = weft("status")
    assert answer.code == 0
    head, first, *_ = answer.out.splitlines()
    assert head.split()[:3] == ["NODE", "IN", "SYNC"]
    assert first.split()[:3] == ["h1", "yes", "yes"]
    assert "h2: routers come later" in answer.out
    told = json.loads(weft("status", "-o", "json").out)
    assert told["ok"] is True
    assert [(node["node"], node["in_sync"], node["alive"], node["rows"]) for node in told["nodes"]] == [
        ("h1", True, True, 7),
        ("h2", True, True, 7),
    ]


def test_a_node_out_of_sync_a_silent_one_and_a_stranger(weft: Weft) -> None:
    weft.apply(FLEET)
    report(weft, "h1", in_sync=False, errors=("the kernel said no",))
    report(weft, "gone")
    answer = weft("status")
    assert answer.code == 1
    assert "h1: the kernel said no" in answer.out
    assert "h2: no agent has reported" in answer.out
    assert "gone: is not declared" in answer.out
    told = json.loads(weft("status", "-o", "json").out)
    assert (told["ok"], [node["declared"] for node in told["nodes"]]) == (False, [False, True, True])


def test_waiting_ends_when_all_are_in_sync_or_names_who_is_not(weft: Weft) -> None:
    weft.apply(FLEET)
    late = weft.apply(FLEET, "--wait", "--timeout", "0.2")
    assert late.code == 1
    assert "h1: its agent has not reported" in late.err


@pytest.mark.parametrize("command", ["status", "get nodes", "delete node h1"])
def test_only_apply_makes_a_store(weft: Weft, command: str) -> None:
    """A typing error in a store's name must not read as a healthy fleet of nothing."""
    answer = weft(*command.split())
    assert (answer.code, answer.out) == (1, "")
    assert "there is no store at this path; if there was one, put it back" in answer.err
    assert not (weft.directory / "weft.db").exists()
