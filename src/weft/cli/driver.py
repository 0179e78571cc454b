"""Which datapath an agent drives on this host, and what others than that one have left there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from weft.cli.place import Place, run
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.l2.datapath import Applied
    from weft.model.network import SegmentKey
    from weft.model.node import DatapathKind

_PATIENCE = 3.0  # seconds for the store to say what a node is declared as


def chosen(where: Place, node: str) -> DatapathKind:
    """As the node is declared; where the store does not say, the one that has segments here; else the kernel's."""
    from weft.model.node import DatapathKind

    with contextlib.suppress(WeftError, TimeoutError):
        if declared := run(asyncio.wait_for(_declared(where, node), _PATIENCE)):
            return declared
    return next((kind for kind, _ in standing(where.cluster)), DatapathKind.KERNEL)


async def _declared(where: Place, node: str) -> DatapathKind | None:
    from weft.model.node import Node
    from weft.store.records import decode

    async with where.opened() as (store, keys):
        key = f"{keys.of_kind('nodes')}{node}"
        found = {item.key: item.value for item in (await store.snapshot((key,))).items}
        return decode(key, found[key], Node).datapath if key in found else None


def alone(kind: DatapathKind, cluster: str, node: str) -> None:
    """Raises REFUSED where another datapath has segments on this host: both would take the same VXLAN port."""
    for other, segments in standing(cluster, kind):
        raise left(other, len(segments), kind, node)


def left(other: DatapathKind, count: int, kind: DatapathKind, node: str) -> WeftError:
    """What `other` forwards on the host of a node that is to forward by `kind`."""
    what = f"this host still forwards {count} segment{'s' if count > 1 else ''} by datapath {other}"
    remedy = f"`weft agent --node {node} --cleanup` takes them down; then start it again"
    return WeftError(Kind.REFUSED, what, where=f"datapath {kind}", remedy=remedy)


def cleaned(kind: DatapathKind | None, cluster: str, node: str) -> Iterator[Applied]:
    """What was removed of each datapath, of `kind` alone where that is told; routers go with the last."""
    from weft.agent.cleanup import cleanup
    from weft.agent.layers import open_layers
    from weft.model.node import DatapathKind

    others = [other for other, _ in standing(cluster, DatapathKind.KERNEL)]
    for each in [kind] if kind else [*others, DatapathKind.KERNEL]:
        driver = open_layers(each, cluster)
        try:
            yield cleanup(driver, node)
        finally:
            driver.close()


def standing(
    cluster: str, without: DatapathKind | None = None
) -> Iterator[tuple[DatapathKind, Collection[SegmentKey]]]:
    """Datapaths that have segments of ours on this host, and which. Raises WeftError where a forwarder hangs."""
    from weft.l2.open import open_datapath
    from weft.model.node import DatapathKind

    for kind in DatapathKind:
        if kind is without:
            continue
        datapath = open_datapath(kind, cluster)
        try:
            segments = datapath.observe().segments
        except WeftError:
            if kind is DatapathKind.USER:
                raise
            continue  # an Open vSwitch that does not run has nothing
        finally:
            datapath.close()
        if segments:
            yield kind, segments.keys()
