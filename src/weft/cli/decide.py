"""What files do to a stored intent: the pure part that `apply` and `diff` share, and what `delete` must refuse.

A file's objects replace stored ones of the same kind and name as wholes; what it does not name stays, or goes with
`prune`. MACs and addresses that were assigned before stay with their ports.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weft.cli import output
from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent
from weft.store.records import KINDS, IntentObject

if TYPE_CHECKING:
    from weft.model.file import Document
    from weft.store.intent import IntentChange, Stored


def decide(document: Document, stored: Stored, *, prune: bool = False) -> Intent:
    """The intent to store; raises WeftErrors: INVALID for the file's mistakes, REFUSED for what facts contradict."""
    from weft.model.allocate import assign
    from weft.model.file import check
    from weft.model.prefix import assign_prefixes

    base = _named_by(document.intent, stored.intent) if prune else stored.intent
    whole = assign_prefixes(check(document, base, stored.facts), stored.intent, document.where)
    return assign(whole, stored.intent)


def _named_by(names: Intent, intent: Intent) -> Intent:
    """The part of `intent` whose objects `names` has too."""
    kept: dict[str, dict[str, IntentObject]] = {}
    for kind in KINDS:
        wanted = getattr(names, kind)
        kept[kind] = {name: thing for name, thing in getattr(intent, kind).items() if name in wanted}
    return Intent(**kept)  # type: ignore[arg-type]  # by kind, as KINDS has them


_UNTOLD = ("name", "assigned")
_NOTHING: tuple[object, ...] = (None, "", (), {}, False)  # what a new object need not tell


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One stored object that comes (`+`), goes (`-`) or changes (`~`); `fields`: name → (old, new) as plain values."""

    sign: str
    kind: str
    name: str
    fields: dict[str, tuple[object, object]]

    def __str__(self) -> str:
        return f"{self.sign} {self.kind} {self.name}"


def object_changes(old: Intent, change: IntentChange) -> Iterator[ObjectChange]:
    """Every object of a change, kind by kind in the file's order, deletions last."""
    for thing in change.put:
        kind = kind_of(thing)
        before = getattr(old, kind).get(thing.name)
        yield ObjectChange("~" if before else "+", kind.removesuffix("s"), thing.name, _fields(before, thing))
    for thing in change.delete:
        yield ObjectChange("-", kind_of(thing).removesuffix("s"), thing.name, {})


def kind_of(thing: IntentObject) -> str:
    return next(kind for kind, type_ in KINDS.items() if isinstance(thing, type_))


def _fields(before: IntentObject | None, after: IntentObject) -> dict[str, tuple[object, object]]:
    import msgspec

    new = msgspec.to_builtins(after)
    old = msgspec.to_builtins(before) if before else {}
    return {
        key: (old.get(key), value)
        for key, value in new.items()
        if key not in _UNTOLD and (old.get(key) != value if before else value not in _NOTHING)
    }


def without(intent: Intent, kind: str, name: str) -> Intent:
    """The intent less one object; raises NOT_FOUND, and REFUSED, naming the objects that need it."""
    things: dict[str, IntentObject] = getattr(intent, kind)
    if name not in things:
        known = ", ".join(sorted(things)[:8]) or "none"
        raise WeftError(
            Kind.NOT_FOUND, "is not stored", where=f"{kind.removesuffix('s')} {name}", remedy=f"stored: {known}"
        )
    if users := sorted(_users(intent, kind, name)):
        raise WeftError(
            Kind.REFUSED,
            f"is needed by {output.some(users)}",
            where=f"{kind.removesuffix('s')} {name}",
            remedy="delete or change those first",
        )
    left: Any = {key: thing for key, thing in things.items() if key != name}
    return replace(intent, **{kind: left})


def _users(intent: Intent, kind: str, name: str) -> Iterator[str]:
    if kind in ("nodes", "networks"):
        for port in intent.ports.values():
            if name == (port.node if kind == "nodes" else port.network):
                yield f"port {port.name}"
        for network in intent.networks.values() if kind == "nodes" else ():
            told = network.routed
            if told and (name in told.nodes or (name in told.prefixes and name not in told.assigned)):
                yield f"network {network.name}"
        for router in intent.routers.values():
            nodes = {*router.placement, *(outside.node for outside in router.external)}
            if name in (nodes if kind == "nodes" else router.gateways):
                yield f"router {router.name}"
