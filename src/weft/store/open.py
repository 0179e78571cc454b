"""From a URL to a store.

sqlite:///var/lib/weft/weft.db     one file, for the processes of one machine; the path as it is, nothing escaped
memory:                            in this process, for this handle alone
memory:NAME                        in this process, shared by all who use the name
etcd://[user@]host:2379,…          a fleet's; etcds:// for TLS; options in weft.store.etcd.address
"""

from __future__ import annotations

import os
from pathlib import Path

from weft.model.errors import Kind, WeftError
from weft.store.store import Store

FORMS = "use sqlite:///absolute/path, memory:, memory:NAME or etcd://host:2379,…"


def open_store(url: str, *, create: bool = True) -> Store:
    """The store at `url`; with `create` a sqlite file and its directory are made if missing, else UNREACHABLE.

    Raises `USAGE` for a URL of no known form, and what the store raises if it cannot be opened.
    """
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "memory" and "/" not in rest:
        from weft.store.memory import Memory, MemoryStore, shared

        return MemoryStore(shared(rest) if rest else Memory(), url)
    if colon and scheme == "sqlite" and _is_file_path(rest.removeprefix("//")) and rest.startswith("//"):
        from weft.store.sqlite import SqliteStore

        return SqliteStore("/" + rest.lstrip("/"), create=create)
    if colon and scheme in ("etcd", "etcds"):
        from weft.store.etcd import EtcdStore
        from weft.store.etcd.address import parse

        return EtcdStore(parse(url))
    raise WeftError(Kind.USAGE, "not the URL of a store", where=url, remedy=FORMS)


def default_url() -> str:
    """The machine's store for root; otherwise the user's own, below $XDG_STATE_HOME (XDG Base Directory 0.8)."""
    if os.geteuid() == 0:
        return "sqlite:///var/lib/weft/weft.db"
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # the specification says to ignore such a value
        state = Path.home() / ".local/state"
    return f"sqlite://{state}/weft/weft.db"


def _is_file_path(path: str) -> bool:
    return path.startswith("/") and not path.endswith("/") and "\0" not in path
