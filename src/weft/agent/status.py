"""What an agent says of itself in the store, and waiting for a fleet to say that it is in sync."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec

from weft.model.errors import Kind, WeftError
from weft.store.records import Keys, decode
from weft.store.store import Store


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's report. `revision`: the store revision it has dealt with. `in_sync`: the datapath holds the plan.

    `errors`: one line each, why it does not. `notes`: what a person should know although it is in sync. `drift`: how
    often something of ours was changed by others and put back. `operations`: applied since start. `time`: wall clock,
    seconds since 1970, of this report's last change.
    """

    node: str
    version: str
    datapath: str
    revision: int = 0
    in_sync: bool = False
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    drift: int = 0
    operations: int = 0
    segments: int = 0
    ports: int = 0
    routers: int = 0
    rows: int = 0
    time: float = 0.0


async def read(store: Store, keys: Keys) -> tuple[dict[str, Status], set[str]]:
    """Every node's report, and the nodes whose host is alive (their lease has not run out)."""
    snapshot = await store.snapshot((keys.status, keys.alive))
    reports: dict[str, Status] = {}
    alive: set[str] = set()
    for item in snapshot.items:
        if item.key.startswith(keys.alive):
            alive.add(item.key.removeprefix(keys.alive))
            continue
        try:
            reports[item.key.removeprefix(keys.status)] = decode(item.key, item.value, Status)
        except WeftError as error:
            name = item.key.removeprefix(keys.status)
            reports[name] = Status(node=name, version="?", datapath="?", errors=(str(error),))
    return reports, alive


async def wait_in_sync(
    store: Store,
    keys: Keys,
    nodes: Iterable[str],
    timeout: float,
    progress: Callable[[int, int, str], None] = lambda ready, all_, why: None,
) -> dict[str, Status]:
    """Returns once every node has dealt with all intent and facts there are, and is in sync with them.

    `timeout` in seconds; raises FAILED, naming the nodes and their own reasons, when it is over. `progress` is told
    (ready, all, what the first of the others says) whenever that may have changed.
    """
    wanted = set(nodes)
    reports: dict[str, Status] = {}
    alive: set[str] = set()

    async def settled() -> None:
        nonlocal reports, alive
        watched = (keys.status, keys.facts, keys.guard)
        first = await store.snapshot(watched)
        changes = store.watch(watched, first.revision + 1)
        while True:
            reports, alive = await read(store, keys)
            behind = await _behind(store, keys, wanted, reports)
            why = _reason(behind[0], reports.get(behind[0]), alive) if behind else ""
            progress(len(wanted) - len(behind), len(wanted), why)
            if not behind:
                return
            await anext(changes)

    try:
        await asyncio.wait_for(settled(), timeout)
    except TimeoutError:
        behind = await _behind(store, keys, wanted, reports)
        raise WeftError(
            Kind.FAILED,
            "\n  ".join(
                [f"not in sync after {timeout:g} s:", *(_reason(node, reports.get(node), alive) for node in behind)]
            ),
            remedy="`weft status` tells more",
        ) from None
    return reports


async def _behind(store: Store, keys: Keys, wanted: set[str], reports: dict[str, Status]) -> list[str]:
    """The nodes that have not told their facts, or are not in sync with all intent and facts there are."""
    snapshot = await store.snapshot((keys.guard, keys.facts))  # the guard's key begins those of all intent
    revision = max((item.revision for item in snapshot.items), default=0)
    told = {item.key.removeprefix(keys.facts) for item in snapshot.items if item.key.startswith(keys.facts)}
    return sorted(
        node
        for node in wanted
        if not (node in told and (report := reports.get(node)) and report.in_sync and report.revision >= revision)
    )


def _reason(node: str, report: Status | None, alive: set[str]) -> str:
    if report is None:
        return f"{node}: its agent has not reported"
    said = first(report.errors) or f"has reached revision {report.revision}"
    return f"{node}: {said}" if node in alive else f"{node}: {said}; its agent is not alive"


def first(errors: Sequence[str]) -> str:
    """The first of a report's errors, and how many more there are: each can fill a line."""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return errors[0] + more if errors else ""
