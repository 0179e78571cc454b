"""Reading intent from a store and writing it back, so that concurrent applies never see half of each other.

Every apply reads a snapshot, computes what to write from it, and commits only if no other apply has committed since
(compare-and-set on the cluster's guard key); else it starts again from a new snapshot. What was checked and assigned
(addresses, VNIs) is therefore still true when it is written.

What does not fit into one transaction (etcd takes 128 writes by default) is written in parts while the guard says
`APPLYING`: whoever reads intent keeps to what it had until the guard says otherwise; every part compares the guard.
The guard has a lease then: if the writer dies, it disappears, what is there counts, and the next apply completes or
changes it.

Beside the ports every apply keeps an index, which networks a node has ports in (`weft.store.records.Attached`), and the
guard's value says so: `INDEXED`. A weft that knows no index leaves another value, and whoever relies on the index then
reads everything until the next apply of one that does. Parts go from what is
needed to what needs it, so that what a dead writer leaves is a smaller intent, not a broken one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent
from weft.model.node import Facts
from weft.store.parts import parts, write_part
from weft.store.records import KINDS, Attached, IntentObject, Keys, decode, encode
from weft.store.store import Compare, Delete, Item, Outcome, Put, Snapshot, Store, TooLarge

APPLYING = b'{"applying":true}'
"""The guard's value while a large apply is being written."""

INDEXED = b'{"attached":true}'
"""The guard's value after an apply that has kept the index."""

_ATTEMPTS = 50
_TTL = 15.0
"""Seconds for which a large apply that has died holds up readers and the next apply."""

_PARTS = 16
"""Parts between two signs of life."""

_LOOK = 0.25
_PATIENCE = 60.0
"""Seconds between looks at an apply that is being written, and in all."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Intent and facts as of one revision. `guard`: the revision of the last apply. `broken`: records that no longer
    decode, with the error; they are left where they are. `applying`: a large apply is half written. `attached`:
    the index's records by node as they stand; `indexed`: the last apply has kept it true."""

    intent: Intent
    facts: dict[str, Facts]
    revision: int
    guard: int
    broken: dict[str, WeftError]
    applying: bool = False
    attached: dict[str, bytes] = field(default_factory=dict)
    indexed: bool = False


async def read(store: Store, keys: Keys) -> Stored:
    """All intent and facts; one consistent snapshot."""
    return from_snapshot(await store.snapshot((keys.guard, keys.facts, keys.attached)), keys)


def from_snapshot(snapshot: Snapshot, keys: Keys) -> Stored:
    intent, facts = Intent(), dict[str, Facts]()
    broken: dict[str, WeftError] = {}
    attached: dict[str, bytes] = {}
    guard, value = 0, b""
    for item in snapshot.items:
        if item.key == keys.guard:
            guard, value = item.revision, item.value
            continue
        if item.key.startswith(keys.attached):
            attached[item.key.removeprefix(keys.attached)] = item.value
            continue
        try:
            if item.key.startswith(keys.facts):
                facts[item.key.removeprefix(keys.facts)] = decode(item.key, item.value, Facts)
            elif item.key.startswith(keys.intent):
                kind, thing = decode_object(keys, item)
                getattr(intent, kind)[thing.name] = thing
        except WeftError as error:
            broken[item.key] = error
    return Stored(
        intent, facts, snapshot.revision, guard, broken, value == APPLYING, attached, indexed=value == INDEXED
    )


def decode_object(keys: Keys, item: Item | Put) -> tuple[str, IntentObject]:
    """(kind, object) of a record below `intent`; raises INVALID also where the record contradicts its key."""
    kind, _, _ = keys.kind_and_name(item.key)
    if not kind:
        raise WeftError(Kind.INVALID, "no kind of object is stored here", where=item.key, remedy="delete the key")
    thing = decode(item.key, item.value, KINDS[kind])
    if keys.of(thing) != item.key:
        raise WeftError(Kind.INVALID, f"the record says it is {keys.of(thing)}", where=item.key, remedy="delete it")
    return kind, thing


@dataclass(frozen=True, slots=True)
class IntentChange:
    """What an apply changes: objects that are new or different, by kind and name."""

    put: tuple[IntentObject, ...]
    delete: tuple[IntentObject, ...]
    revision: int

    def __bool__(self) -> bool:
        return bool(self.put or self.delete)


def change(old: Intent, new: Intent, revision: int = 0) -> IntentChange:
    """The objects in which two intents differ."""
    put: list[IntentObject] = []
    delete: list[IntentObject] = []
    for kind in KINDS:
        before: dict[str, IntentObject] = getattr(old, kind)
        after: dict[str, IntentObject] = getattr(new, kind)
        put += [thing for name, thing in after.items() if before.get(name) != thing]
        delete += [thing for name, thing in before.items() if name not in after]
    return IntentChange(tuple(put), tuple(delete), revision)


async def update(store: Store, keys: Keys, decide: Callable[[Stored], Intent]) -> IntentChange:
    """Stores `decide(what is stored)`; `decide` may raise to refuse, and runs again when another apply came between.

    Raises CONFLICT where others keep coming between, and where a large apply lost its guard half way. Returns what
    changed; nothing is written where nothing did.
    """
    for _ in range(_ATTEMPTS):
        stored = await _settled(store, keys)
        intent = decide(stored)
        wanted = change(stored.intent, intent, stored.revision)
        index = index_writes(stored, intent, keys)
        if not wanted and (stored.indexed or not stored.guard) and not index:
            return wanted
        gone = {keys.of(thing) for thing in wanted.delete} | _left(stored, wanted, keys)
        writes: list[Put | Delete] = [
            *(Put(keys.of(thing), encode(thing)) for thing in wanted.put),
            *index,
            # Ports, routers, networks, nodes: nothing goes before what needs it.
            *(Delete(key) for key in sorted(gone, key=lambda key: (_rank(keys, key), key))),
        ]
        outcome = await _commit(store, keys, stored.guard, writes)
        if outcome.done:
            return replace(wanted, revision=outcome.revision)
    raise WeftError(
        Kind.CONFLICT, "other applies keep changing the store", where=store.url, remedy="run the command again"
    )


def index_writes(stored: Stored, intent: Intent, keys: Keys) -> list[Put | Delete]:
    """What makes the index say where the intent has ports. A network with a record that no longer decodes keeps the
    nodes that it had: it is held there as it is."""
    networks: dict[str, set[str]] = {}
    for port in intent.ports.values():
        networks.setdefault(port.node, set()).add(port.network)
    of_broken = {network for kind, _, network in map(keys.kind_and_name, stored.broken) if kind == "ports"}
    for node, value in stored.attached.items() if of_broken else ():
        kept = of_broken.intersection(_networks(value))
        if kept:
            networks.setdefault(node, set()).update(kept)
    wanted = {node: encode(Attached(tuple(sorted(names)))) for node, names in networks.items()}
    puts = [Put(keys.attached + node, value) for node, value in wanted.items() if stored.attached.get(node) != value]
    return [*puts, *(Delete(keys.attached + node) for node in stored.attached if node not in wanted)]


def _networks(value: bytes) -> tuple[str, ...]:
    try:
        return decode("", value, Attached).networks
    except WeftError:
        return ()


async def _commit(store: Store, keys: Keys, guard: int, writes: Sequence[Put | Delete]) -> Outcome:
    try:
        return await store.transact([Compare(keys.guard, guard)], [Put(keys.guard, INDEXED), *writes])
    except TooLarge:
        pass
    lease = await store.grant(_TTL)
    try:
        claim = await store.transact([Compare(keys.guard, guard)], [Put(keys.guard, APPLYING, lease)])
        if not claim.done:
            return claim
        return await _write_parts(store, keys, claim.revision, lease, writes)
    finally:
        # Takes the guard along if it still says APPLYING; where the store is away the lease ends by itself.
        with suppress(WeftError):
            await store.revoke(lease)


async def _write_parts(store: Store, keys: Keys, claim: int, lease: int, writes: Sequence[Put | Delete]) -> Outcome:
    held = [Compare(keys.guard, claim)]
    for number, part in enumerate(parts(writes)):
        if number % _PARTS == 0:
            await store.keep_alive(lease)
        if not (await write_part(store, held, part)).done:
            raise _cut_off(store)
    outcome = await store.transact(held, [Put(keys.guard, INDEXED)])
    if not outcome.done:
        raise _cut_off(store)
    return outcome


async def _settled(store: Store, keys: Keys) -> Stored:
    """What is stored once no large apply is half written."""
    stored = await read(store, keys)
    for _ in range(int(_PATIENCE / _LOOK)):
        if not stored.applying:
            return stored
        await asyncio.sleep(_LOOK)
        stored = await read(store, keys)
    raise WeftError(
        Kind.CONFLICT, "another apply is being written", where=store.url, remedy="run the command again later"
    )


def _cut_off(store: Store) -> WeftError:
    return WeftError(
        Kind.CONFLICT,
        "the apply lost its guard half way; part of it is written",
        where=store.url,
        remedy="run the command again",
    )


def _rank(keys: Keys, key: str) -> int:
    """Later for what others need."""
    kind, _, _ = keys.kind_and_name(key)
    return -list(KINDS).index(kind) if kind else 0


def _kind(thing: IntentObject) -> str:
    return next(kind for kind, type_ in KINDS.items() if isinstance(thing, type_))


def _left(stored: Stored, wanted: IntentChange, keys: Keys) -> set[str]:
    """Keys that objects leave because they now stand elsewhere (a port that changed its network)."""
    before = (getattr(stored.intent, _kind(thing)).get(thing.name) for thing in wanted.put)
    return {keys.of(thing) for thing in before if thing} - {keys.of(thing) for thing in wanted.put}
