"""Our keys as etcd's: below the URL's `prefix`, as bytes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from weft.store.etcd.messages import KeyValue, text
from weft.store.prefix import Prefixes, prefix_end
from weft.store.store import Change, Item, Prefix

END = b"\0"
"""As the end of a range: to the last key (etcd's api/etcdserverpb/rpc.proto, RangeRequest)."""


class Range(msgspec.Struct, frozen=True):
    """`first ≤ key < end`, as JSON carries it."""

    key: str
    range_end: str


class Keyspace:
    """Translates between the store's keys and etcd's."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._length = len(prefix.encode())

    def raw(self, key: str) -> str:
        return text((self._prefix + key).encode())

    def ranges(self, prefixes: Iterable[Prefix]) -> list[Range]:
        """The fewest ranges that cover what is under the prefixes, in order."""
        found = []
        for first, end in Prefixes(prefixes).ranges():
            last = prefix_end(self._prefix) if end is None else self._prefix + end
            # An empty first key would name no range at all.
            found.append(Range(text((self._prefix + first).encode() or b"\0"), text(last.encode() if last else END)))
        return found

    def item(self, kv: KeyValue) -> Item | None:
        """None for a key that is no text: not of weft's making."""
        key = self._key(kv)
        return None if key is None else Item(key, kv.value, kv.mod_revision, kv.lease)

    def change(self, kv: KeyValue, *, deleted: bool) -> Change | None:
        key = self._key(kv)
        return None if key is None else Change(key, None if deleted else kv.value, kv.mod_revision)

    def _key(self, kv: KeyValue) -> str | None:
        try:
            return kv.key[self._length :].decode()
        except UnicodeDecodeError:
            return None
