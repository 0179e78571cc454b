"""The rows that peers' leases make in a vxlan device's tables, as a whole and by what changed. Pure.

    one peer      neighbor  <base> → its MAC        FDB  its MAC → its address       route  <subnet> via <base>
    one direct    route  <subnet> via its address, on the underlay's device

Two leases may claim one row: an old and a new one of the same node have the same MAC. The later one has it, and when
that goes the other has it again, so that what stands depends on the leases that hold and not on how they came.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from weft.peering.flannel.vtep import Peer, Words
from weft.plan.tables import DTYPE, Rows, Table, Tables, normalized

K = TypeVar("K")
V = TypeVar("V")
To = tuple[int, int, int]
"""A route's target: the address in two words, and the length."""


@dataclass(frozen=True, slots=True, eq=False)
class Rowset:
    """Rows on the vxlan device, and routes on the underlay's."""

    tables: Tables
    direct: Rows

    @property
    def count(self) -> int:
        tables = self.tables
        return len(tables.fdb) + len(tables.neighbors) + len(tables.routes) + len(self.direct)


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """`put` is written first, then `drop` goes."""

    put: Rowset
    drop: Rowset


@dataclass
class _Claims(Generic[K, V]):
    """Who claims a key, with which value; `won`: the value of the highest rank."""

    won: dict[K, V] = field(default_factory=dict)
    _by: dict[K, dict[str, tuple[tuple[int, str], V]]] = field(default_factory=dict)
    _before: dict[K, V | None] = field(default_factory=dict)

    def claim(self, key: K, peer: Peer, value: V) -> None:
        self._by.setdefault(key, {})[peer.name] = (peer.rank, value)
        self._settle(key)

    def release(self, key: K, peer: Peer) -> None:
        claims = self._by.get(key, {})
        claims.pop(peer.name, None)
        if not claims:
            self._by.pop(key, None)
        self._settle(key)

    def _settle(self, key: K) -> None:
        self._before.setdefault(key, self.won.get(key))
        if claims := self._by.get(key):
            self.won[key] = max(claims.values(), key=lambda claim: claim[0])[1]
        else:
            self.won.pop(key, None)

    def changed(self) -> tuple[dict[K, V], dict[K, V]]:
        """(written, gone with what it was) since the last call; a value that changed is written."""
        before, self._before = self._before, {}
        put = {key: self.won[key] for key, old in before.items() if key in self.won and self.won[key] != old}
        drop = {key: old for key, old in before.items() if key not in self.won and old is not None}
        return put, drop


class Peers:
    """All that one device is to reach."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}
        self._fdb: _Claims[int, Words] = _Claims()
        self._neighbors: _Claims[Words, int] = _Claims()
        self._routes: _Claims[To, tuple[Words, bool]] = _Claims()

    @property
    def peers(self) -> dict[str, Peer]:
        return self._peers

    @property
    def fdb(self) -> dict[int, Words]:
        """MAC → VTEP."""
        return self._fdb.won

    @property
    def neighbors(self) -> dict[Words, int]:
        """IP → MAC."""
        return self._neighbors.won

    @property
    def routes(self) -> dict[To, tuple[Words, bool]]:
        """Target → next hop, and whether it is direct."""
        return self._routes.won

    def change(self, put: Iterable[Peer] = (), drop: Iterable[str] = ()) -> Delta:
        """Peers that came or changed, and names of those that went; what that changes."""
        for name in drop:
            if peer := self._peers.pop(name, None):
                self._release(peer)
        for peer in put:
            if before := self._peers.get(peer.name):
                self._release(before)
            self._peers[peer.name] = peer
            self._claim(peer)
        fdb, neighbors, routes = self._fdb.changed(), self._neighbors.changed(), self._routes.changed()
        put_set, drop_set = (_rowset(fdb[side], neighbors[side], routes[side]) for side in (0, 1))
        return Delta(put_set, drop_set)

    def replace(self, peers: Iterable[Peer]) -> Delta:
        """These and no others."""
        wanted = {peer.name: peer for peer in peers}
        return self.change(
            (peer for name, peer in wanted.items() if self._peers.get(name) != peer),
            [name for name in self._peers if name not in wanted],
        )

    def rows(self) -> Rowset:
        """Everything that is to stand."""
        return _rowset(self.fdb, self.neighbors, self.routes)

    def _claim(self, peer: Peer) -> None:
        if not peer.direct:
            self._fdb.claim(peer.mac, peer, peer.vtep)
            self._neighbors.claim(peer.base, peer, peer.mac)
        via = peer.vtep if peer.direct else peer.base
        self._routes.claim((*peer.base, peer.length), peer, (via, peer.direct))

    def _release(self, peer: Peer) -> None:
        self._fdb.release(peer.mac, peer)
        self._neighbors.release(peer.base, peer)
        self._routes.release((*peer.base, peer.length), peer)


def _rowset(
    fdb: dict[int, Words], neighbors: dict[Words, int], routes: dict[To, tuple[Words, bool]]
) -> Rowset:  # fmt: skip
    return Rowset(
        Tables(
            fdb=_table(Table.FDB, [(mac, *vtep) for mac, vtep in fdb.items()]),
            neighbors=_table(Table.NEIGHBORS, [(*ip, mac) for ip, mac in neighbors.items()]),
            routes=_table(Table.ROUTES, [(*to, *via) for to, (via, direct) in routes.items() if not direct]),
        ),
        _table(Table.ROUTES, [(*to, *via) for to, (via, direct) in routes.items() if direct]),
    )


def _table(table: Table, rows: list[Any]) -> Rows:
    return normalized(table, np.array(rows, DTYPE[table]))
