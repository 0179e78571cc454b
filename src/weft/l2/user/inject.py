"""Frames that the agent puts into a segment: to local ports, to all tunnels, or to one VTEP.

A frame for all tunnels whose destination the switch knows behind a VTEP goes there alone, as a vxlan device of the
kernel would send it; the rest takes the flood list. No frame passes the switch: nothing is learned from what we say.
"""

from __future__ import annotations

import time

from weft.l2.user import control
from weft.l2.user.tx.egress import Egress
from weft.l2.user.vnet import PLAIN
from weft.l2.user.world import SegmentState, World
from weft.model.errors import Kind, WeftError

_LEAST = 14


class Injector:
    """Used by one thread at a time."""

    def __init__(self, world: World) -> None:
        self._world, self._egress = world, Egress(world)
        self.tally = self._egress.tally

    def put(self, request: control.Inject) -> None:
        """Raises WeftError; of all local ports, those that do not take it are counted."""
        state = self._world.segments.get(request.key)
        if state is None:
            raise WeftError(Kind.NOT_FOUND, "the segment is not here", where=f"segment {request.key}")
        if len(request.frame) < _LEAST:
            raise WeftError(Kind.INVALID, "a frame has 14 octets at least", where=f"segment {request.key}")
        if request.tunnels:
            self._egress.inject(state, request.frame, _vteps(state, request))
        elif request.to is None:
            for name in [name for name in state.switch.ports if "/" not in name]:  # a router's is ROUTER/NETWORK
                self._egress.write(name, [PLAIN, request.frame])
        elif request.to not in state.switch.ports:
            raise WeftError(Kind.NOT_FOUND, "the port is not in this segment", where=f"port {request.to}")
        else:
            self._egress.write(request.to, [PLAIN, request.frame])


def _vteps(state: SegmentState, request: control.Inject) -> tuple[str, ...]:
    if request.to is not None:
        return (request.to,)
    mac = request.frame[:6]
    if not mac[0] & 1 and (vtep := state.switch.behind(mac, time.monotonic())) is not None:
        return (vtep,)
    group = state.segment.group
    return (group, *state.switch.flood) if group else tuple(sorted(state.members))
