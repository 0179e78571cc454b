"""What an agent has loaded is there to stay: Python's cyclic collector need not look at it again and again.

The collector walks all objects there are whenever those that are young have become many, which stops a process that
holds large tables for a tenth of a second, in the middle of whatever it does. What stands once an agent is in sync goes
when nothing refers to it, as everything does; only rings of objects need the collector, and a world is none.
"""

from __future__ import annotations

import gc


def steady() -> None:
    """Takes all that is there out of the collector's sight, after it has looked at it once more."""
    gc.collect()
    gc.freeze()
