"""`weft apply`: files into the store, all or nothing; what is wrong is refused with its line and what to write."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli import options, output
from weft.cli.place import Place, place, run


def command(
    file: options.Files,
    prune: Annotated[bool, typer.Option("--prune", help="Also delete what is stored and not in the files.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until every node's agent is in sync; says what it waits for.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long --wait may take.")] = 60.0,
    store: options.Store = None,
    cluster: options.Cluster = None,
    lab: options.Lab = None,
) -> None:
    """Validate files and store what they say.

    Objects replace stored ones of the same kind and name; others stay. One line per changed object: + new, ~ changed,
    - deleted. Exit 2: a mistake in a file; exit 1: a node's facts speak against it, or the store cannot be reached.
    """
    run(_apply(place(store, cluster, lab), file, prune, timeout if wait else None))


async def _apply(where: Place, names: list[str], prune: bool, patience: float | None) -> None:
    from weft.cli import decide, files
    from weft.model.intent import Intent
    from weft.store.intent import Stored, update

    document = files.read(names)
    before = Intent()

    def wanted(stored: Stored) -> Intent:
        nonlocal before
        before = stored.intent
        return decide.decide(document, stored, prune=prune)

    async with where.opened(create=True) as (store, keys):
        change = await update(store, keys, wanted)
        for line in decide.object_changes(before, change):
            output.paint(output.signed(str(line)))
        if not change:
            output.say("nothing to change")
        if patience is not None:
            await _wait(where, patience)


async def _wait(where: Place, patience: float) -> None:
    from weft.agent.status import wait_in_sync
    from weft.store.intent import read

    async with where.opened() as (store, keys):
        nodes = (await read(store, keys)).intent.nodes
        with output.progress() as tell:

            def told(ready: int, of: int, why: str) -> None:
                tell(f"{ready} of {of} in sync{f'; {why}' if why else ''}")

            await wait_in_sync(store, keys, nodes, patience, told)
    output.say(f"in sync: {len(nodes)} of {len(nodes)}")
