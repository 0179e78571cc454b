"""Where intent, endpoints and facts live: snapshot, watch, compare-and-set transaction, lease."""

from weft.store.open import default_url, open_store
from weft.store.store import (
    Change,
    Changes,
    Compacted,
    Compare,
    Delete,
    Exactly,
    Item,
    LeaseLost,
    Outcome,
    Prefix,
    Put,
    Snapshot,
    Store,
    TooLarge,
)

__all__ = [
    "Change",
    "Changes",
    "Compacted",
    "Compare",
    "Delete",
    "Exactly",
    "Item",
    "LeaseLost",
    "Outcome",
    "Prefix",
    "Put",
    "Snapshot",
    "Store",
    "TooLarge",
    "default_url",
    "open_store",
]
