"""Whatever stands in a file or in the store: a named error or a valid plan, never a crash. 10,000 of each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.agent.test_feed import KEYS, SEEN, THINGS
from weft.agent.agent import Agent
from weft.compile.node import compile_node
from weft.compile.world import World
from weft.l2.fake import FakeDatapath
from weft.model.allocate import assign
from weft.model.errors import WeftError
from weft.model.file import check, parse
from weft.model.intent import Intent
from weft.store import open_store
from weft.store.records import encode
from weft.store.store import Item, Snapshot

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]  # a minute each, of a CPU that nobody else has
MANY = settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
LABS = Path(__file__).resolve().parents[2] / "labs"

RECORDS = [(KEYS.of(thing), encode(thing)) for thing in THINGS]
RECORDS += [(KEYS.endpoint(endpoint), encode(endpoint)) for endpoint in SEEN]
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        ["", "h1", "../../etc", "10.1.1.1", "::", "ff:ff:ff:ff:ff:ff", "239.1.1.1", "a/b", "\n", "suppress"]
    ),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


@st.composite
def broken(draw: Any) -> tuple[str, bytes]:
    """A good record in which one thing is another; sometimes under another's key, sometimes cut or flipped."""
    key, octets = draw(st.sampled_from(RECORDS))
    how = draw(st.sampled_from(["field", "field", "field", "key", "cut", "flip", "good"]))
    if how == "field":
        fields = msgspec.json.decode(octets)
        fields[draw(st.sampled_from(sorted(fields)))] = draw(values)
        return key, msgspec.json.encode(fields)
    if how == "key":
        return draw(
            st.one_of(st.sampled_from(RECORDS).map(lambda item: item[0]), st.text().map(KEYS.root.__add__))
        ), octets
    if how == "cut":
        return key, octets[: draw(st.integers(0, len(octets)))]
    if how == "flip":
        at = draw(st.integers(0, len(octets) - 1))
        return key, octets[:at] + bytes([draw(st.integers(0, 255))]) + octets[at + 1 :]
    return key, octets


@MANY
@given(st.lists(broken(), min_size=1, max_size=12))
def test_any_store(records: list[tuple[str, bytes]]) -> None:
    """The agent comes to a result, and every record that it could not use is named in what it says."""
    datapath = FakeDatapath()
    agent = Agent(open_store("memory:"), "h1", datapath)
    items = dict([*RECORDS[:6], (KEYS.guard, b"{}"), *records])
    agent.feed.load(Snapshot(1, tuple(Item(key, value, 1) for key, value in sorted(items.items()))))
    agent.reconcile()
    assert all(key in str(error) for key, error in agent.feed.broken.items())
    assert agent.status.in_sync or agent.status.errors
    agent._observed = None
    done = len(datapath.log)
    agent.reconcile()
    assert len(datapath.log) == done, "the second time there is nothing to do"


TEXTS = [path.read_text() for path in sorted(LABS.glob("*.yaml"))]
pieces = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["&a", "*a", "!!python/object:os.system", "{", "]", ": ", "\t", "- ", "# ", "null", "1e999", "0x1f"]
    ),
    st.sampled_from(["vni: 16777216", "subnet: 0.0.0.0/0", "h1: {vtep: 127.0.0.1}", "10.1.1.11", "flood: none"]),
)


@st.composite
def files(draw: Any) -> str:
    """A good file with some of its text replaced, lines moved or left out."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 3))):
        lines = text.splitlines() or [""]
        at = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(["insert", "replace", "drop", "double", "word"]))
        if how == "insert":
            column = draw(st.integers(0, len(lines[at])))
            lines[at] = lines[at][:column] + draw(pieces) + lines[at][column:]
        elif how == "replace":
            lines[at] = draw(pieces)
        elif how == "drop":
            del lines[at]
        elif how == "double":
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        else:
            words = lines[at].split(" ")
            words[draw(st.integers(0, len(words) - 1))] = draw(pieces)
            lines[at] = " ".join(words)
        text = "\n".join(lines)
    return text


@MANY
@given(files())
def test_any_file(text: str) -> None:
    """Refused with the one error type, or a plan for every node."""
    try:
        intent = assign(check(parse({"f.yaml": text})), Intent())
    except WeftError:
        return
    world = World.of(intent)
    for node in intent.nodes:
        plan = compile_node(world, node)
        assert plan.tables.keys() == plan.segments.keys()


def test_steps_of_the_wall_clock_change_nothing(tmp_path: Path) -> None:
    """A day forward, a day back: no operation, no lease lost, no store trouble. Leases run by the clock since boot."""

    async def main() -> None:
        from tests.agent.test_agent import BEFORE
        from weft.agent.status import read
        from weft.store.intent import update

        now = [1_800_000_000.0]
        store = open_store(f"sqlite://{tmp_path}/weft.db")
        await update(store, KEYS, lambda stored: BEFORE)
        datapath = FakeDatapath()
        agent = Agent(store, "h1", datapath, resync=0.05, wall=lambda: now[0])
        work = asyncio.create_task(agent.run())
        try:

            async def looked() -> None:
                seen = datapath.observations
                while datapath.observations < seen + 3:
                    await asyncio.sleep(0.01)

            before = None
            while not agent.status.in_sync or before != agent.status:  # its own reports are news from the store too
                before = agent.status
                await looked()
            done = len(datapath.log)
            for step in (86_400.0, -2 * 86_400.0, 86_400.0):
                now[0] += step
                await looked()
                assert (len(datapath.log), agent.status, agent.contact.error) == (done, before, "")
                assert (await read(store, KEYS))[1] == {"h1"}, "alive"
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await store.close()

    asyncio.run(main())
