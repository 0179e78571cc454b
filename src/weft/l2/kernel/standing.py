"""Where the rows of a segment go, as last observed: what need not be asked of the kernel for each row anew.

It counts only while the kernel has told of no change to these links since (`weft.l2.kernel.events.Events.steady`):
notifications come in the order of the changes, so whoever has read all of them knows. What goes to an index that is
gone all the same is refused by the kernel, which gives no index twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from weft.l2.names import Alias, DeviceKind, bridge, vxlan
from weft.model.address import mac_to_int
from weft.model.network import SegmentKey
from weft.netlink.links import Link


@dataclass(frozen=True, slots=True)
class Standing:
    """A segment's devices by index: the tunnel has the FDB, the flood list and routes, the speaker neighbors.

    `local`: MACs that the bridge owns, its own and its ports'.
    """

    tunnel: int
    speaker: int
    local: frozenset[int] = frozenset()


def standing(
    meaning: Callable[[Link], Alias | None], segments: Mapping[SegmentKey, object], links: Sequence[Link]
) -> dict[SegmentKey, Standing]:
    """Of the segments whose devices all stand under their names. `meaning`: what a link is to us, None: nothing."""
    ours = {link.name: (link, alias.kind) for link in links if link.alias and (alias := meaning(link))}
    owned: dict[int, set[int]] = {}
    for link in links:
        for at in (link.index, link.master):
            if at and link.mac:
                owned.setdefault(at, set()).add(mac_to_int(link.mac))
    found: dict[SegmentKey, Standing] = {}
    for key in segments:
        tunnel, kind = ours.get(vxlan(key), (None, None))
        if tunnel is None or tunnel.kind != "vxlan":
            continue
        if kind is DeviceKind.ROUTED:
            found[key] = Standing(tunnel.index, tunnel.index)
            continue
        there, _ = ours.get(bridge(key), (None, None))
        if there is not None and there.kind == "bridge" and tunnel.master == there.index:
            found[key] = Standing(tunnel.index, there.index, frozenset(owned[there.index]))
    return found
