"""status, and waiting for agents: what is told of reports that stand in the store."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.cli.conftest import FLEET, Weft
from tests.cli.test_mistakes import picture, put
from weft.agent.report import misplaced
from weft.agent.status import Status, wait_in_sync
from weft.model.errors import WeftError
from weft.model.node import DatapathKind, Facts
from weft.store import open_store
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


def test_an_agent_that_has_just_started_is_no_missing_one(weft: Weft) -> None:
    weft.apply(FLEET)
    alive(weft, "h1")
    answer = weft("status")
    assert "h1: its agent has not reported yet\n" in answer.out
    assert "h2: no agent has reported; run on that host: weft agent --node h2\n" in answer.out


def test_the_report_of_an_undeclared_node_can_be_deleted(weft: Weft) -> None:
    weft.apply(FLEET)
    report(weft, "gone")
    alive(weft, "gone")
    refused = weft("delete", "node", "gone")
    assert (refused.code, "an agent with its name runs; stop that agent first" in refused.err) == (1, True)
    put(weft, Keys().status + "far", b"{}")
    assert "far" in weft("status").out
    assert weft("delete", "node", "far").out == "- node far\n"
    assert "far" not in weft("status").out
    assert "is not stored; stored: h1, h2" in weft("delete", "node", "far").err


def test_what_a_dead_agent_said_last_is_stale(weft: Weft) -> None:
    weft.apply(FLEET)
    report(weft, "h1")
    alive(weft, "h1")
    report(weft, "h2", time=time.time() - 300)
    answer = weft("status")
    assert answer.code == 1
    _, first, second, *_ = answer.out.splitlines()
    assert (first.split()[1:3], second.split()[1:3], second.split()[-1]) == (["yes", "yes"], ["stale", "no"], "5m")
    assert "h2: its agent is not alive; what it said last was in sync, 5m ago\n" in answer.out
    told = json.loads(weft("status", "-o", "json").out)["nodes"]
    assert [(node["in_sync"], node["stale"]) for node in told] == [(True, False), (False, True)]
    late = weft.apply(FLEET.replace("10.1.1.12", "10.1.1.13"), "--wait", "--timeout", "0.2")
    assert "h2: has reached revision 4; its agent is not alive" in late.err


def test_a_node_that_nobody_declares_gets_one_line(weft: Weft) -> None:
    weft.apply(FLEET)
    report(weft, "far", in_sync=False, errors=tuple(misplaced(None, "far", None)))
    lines = [line for line in weft("status").out.splitlines() if line.startswith("far: ")]
    assert lines == ["far: node far is not declared; add it under `nodes:` with its VTEP address"]


def test_waiting_says_what_it_waits_for(weft: Weft) -> None:
    """On a terminal, while it waits; elsewhere in the end."""
    weft.apply(FLEET)
    report(weft, "h1")
    report(weft, "h2", in_sync=False, errors=("the kernel said no",))
    for node in ("h1", "h2"):
        alive(weft, node)
        put(weft, Keys().facts + node, encode(Facts(node=node, version="9.9", datapath=DatapathKind.KERNEL)))
    told: list[tuple[int, int, str]] = []

    async def wait() -> None:
        store = open_store(weft.url)
        try:
            with pytest.raises(WeftError, match="h2: the kernel said no"):
                await wait_in_sync(store, Keys(), ["h1", "h2"], 0.2, lambda *what: told.append(what))
        finally:
            await store.close()

    asyncio.run(wait())
    assert {why for *_, why in told} <= {"h1: has reached revision 2", "h2: the kernel said no"}
    assert told


def test_who_waits_reads_one_line_a_node(weft: Weft) -> None:
    weft.apply(FLEET)
    report(weft, "h1", in_sync=False, errors=("one", "two", "three"))
    late = weft.apply(FLEET.replace("10.1.1.12", "10.1.1.13"), "--wait", "--timeout", "0.2")
    assert "  h1: one (and 2 more); its agent is not alive\n" in late.err


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
