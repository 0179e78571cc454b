"""`weft store`: what is done to a store as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli import options, output
from weft.cli.place import place, run
from weft.model.errors import Kind, WeftError

app = typer.Typer(
    help="Move a cluster from one store to another.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """With a callback a single command keeps its name."""


@app.command("migrate")
def migrate(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The store's URL; it is read and stays as it is.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Where to; nothing of the cluster may be there yet.")],
    cluster: options.Cluster = None,
) -> None:
    """Copy a cluster to another store, such as from sqlite to etcd, and compare the two.

    Everything but leases: intent, facts, endpoints, reports. Nothing may write to either store meanwhile; where
    something does, or anything fails, the target is left empty. Agents go on following FROM until they are started
    with --store TO; their datapaths forward all the while.
    """
    done, left, alive = run(_migrate(source, target, place(source, cluster, None).cluster))
    output.say(f"{done} keys copied and compared" + (f"; {left} with a lease left out" if left else ""))
    if alive:
        output.warn(
            f"agents still follow the old store ({output.some(alive)}); start each with --store and the new one's URL"
        )


async def _migrate(source: str, target: str, cluster: str) -> tuple[int, int, tuple[str, ...]]:
    from weft.store import open_store
    from weft.store.migrate import migrate, ready
    from weft.store.records import Keys

    for url in (source, target):
        if url.startswith("memory:"):
            raise WeftError(Kind.USAGE, "it ends with this command", where=url, remedy="name a sqlite or etcd store")
    keys = Keys(cluster)
    old = open_store(source, create=False)
    try:
        await ready(old, keys)  # before the target is made
        new = open_store(target)
        try:
            with output.progress() as tell:
                done = await migrate(old, new, keys, lambda written, of: tell(f"{written} of {of} keys"))
        finally:
            await new.close()
    finally:
        await old.close()
    return done.copied, done.left, done.alive
