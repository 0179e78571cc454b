"""`weft delete`: one object out of the store, unless others need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import kind, options, output
from weft.cli.place import Place, place, run

if TYPE_CHECKING:
    from weft.store.intent import Stored
    from weft.store.records import Keys
    from weft.store.store import Store


def command(
    kind_: kind.Declared,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    store: options.Store = None,
    cluster: options.Cluster = None,
    lab: options.Lab = None,
) -> None:
    """Delete one object from the store.

    Refused (exit 1) while others need it: a node or a network with ports, a network with a gateway. Of a node that is
    not declared (any more) it deletes what `weft status` still tells.
    """
    run(_delete(place(store, cluster, lab), kind.plural(kind_, kind.DECLARED), name))


async def _delete(where: Place, plural: str, name: str) -> None:
    from weft.cli import decide
    from weft.store.intent import read, update

    async with where.opened() as (store, keys):
        stored = await read(store, keys)
        if broken := _broken(stored, keys, plural, name):
            await _discard(store, keys, stored, broken)
        elif plural == "nodes" and name not in stored.intent.nodes and await _forgotten(store, keys, name):
            pass
        else:
            await update(store, keys, lambda stored: decide.without(stored.intent, plural, name))
    output.paint(output.signed(f"- {plural.removesuffix('s')} {name}"))


async def _forgotten(store: Store, keys: Keys, node: str) -> bool:
    """Takes away what the agent of a node that nobody declares has said of itself; False where it said nothing.

    Raises REFUSED while it runs.
    """
    from weft.agent.status import read
    from weft.model.errors import Kind, WeftError
    from weft.store.store import Delete

    reports, alive = await read(store, keys)
    if node in alive:
        what = "is not declared, but an agent with its name runs"
        raise WeftError(Kind.REFUSED, what, where=f"node {node}", remedy="stop that agent first")
    if node in reports:
        await store.transact([], [Delete(f"{keys.status}{node}"), Delete(f"{keys.facts}{node}")])
    return node in reports


def _broken(stored: Stored, keys: Keys, plural: str, name: str) -> list[str]:
    """Keys of this object's records that do not decode: the object can be told by its key alone."""
    if name in getattr(stored.intent, plural):
        return []
    return [
        key for key in stored.broken if key.startswith(keys.intent) and keys.kind_and_name(key)[:2] == (plural, name)
    ]


async def _discard(store: Store, keys: Keys, stored: Stored, broken: list[str]) -> None:
    from weft.model.errors import Kind, WeftError
    from weft.store.intent import INDEXED
    from weft.store.store import Compare, Delete, Put

    writes: list[Put | Delete] = [
        Put(keys.guard, INDEXED if stored.indexed else b"{}"),
        *(Delete(key) for key in broken),
    ]
    outcome = await store.transact([Compare(keys.guard, stored.guard)], writes)
    if not outcome.done:
        raise WeftError(Kind.CONFLICT, "another apply came between", where=store.url, remedy="run the command again")
