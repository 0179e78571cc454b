"""What other nodes' lives mean for this one: who holds which role, and what is left as it is for a moment.

A node that takes a gateway over says so (`announce`); at start nothing is decided before there is a verdict on every
peer; and a port that moved away is left standing until it has had time to stand where it went. What would keep this
node from a role is told before it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from weft.agent.feed import Feed
from weft.agent.layers import Layers
from weft.agent.probes import Probes
from weft.compile.peers import peers
from weft.l2.datapath import Datapath
from weft.plan.node import NodePlan

_DECIDE = 3.0  # seconds at start to wait for a verdict on every peer
_COURTESY = 0.5  # seconds that a node waits with what it would do after a port has left it
_ANNOUNCE = (0.1, 1.0, 3.0)  # seconds after a peer died or came back: a gateway here says where it is
_PAUSE = 0.05  # seconds until verdicts are asked for again

log = structlog.get_logger("weft.agent")


class Roles:
    """`now`: the monotonic clock, seconds. Without `probes` every node is alive."""

    def __init__(
        self, feed: Feed, node: str, datapath: Datapath, probes: Probes | None, now: Callable[[], float]
    ) -> None:
        self._feed, self._node, self._datapath, self._probes, self._now = feed, node, datapath, probes, now
        self._decided = probes is None
        self._decide_by: float | None = None  # until when verdicts are waited for, once there are peers to judge
        self._not_before = now()
        self._plan = NodePlan(node)
        self.refused: list[str] = []  # roles that this node could not take over

    def follow(self, wake: Callable[[], None]) -> None:
        """From now on `wake` is called, in the running loop, when verdicts change."""
        if self._probes:
            loop = asyncio.get_running_loop()
            self._probes.changed = lambda: _in(loop, wake)

    def leave(self) -> None:
        if self._probes:
            self._probes.changed = lambda: None

    def wait(self) -> float:
        """Seconds to leave everything as it is; 0: the world says who lives, and may be acted on."""
        if not self._judge():
            return _PAUSE
        if self._node in self._feed.departed:
            self._not_before = self._now() + _COURTESY
        self._feed.departed.clear()
        return max(0.0, self._not_before - self._now())

    def reached(self, plan: NodePlan) -> None:
        """The datapath holds this plan: peers may count on this node."""
        self._plan = plan
        if self._probes:
            self._probes.ready = True

    def look(self, wanted: NodePlan) -> list[str]:
        """What keeps routers that do not stand here from their outsides; of others, the operations tell."""
        self.refused = []
        for name, router in sorted(self._feed.world.routers.items()):
            for side in router.external:
                if side.node == self._node and name not in wanted.routers and isinstance(self._datapath, Layers):
                    error = self._datapath.outside_refused(name, side.interface)
                    self.refused += [str(error)] if error else []
        return self.refused

    def _judge(self) -> bool:
        if self._probes is None:
            return True
        world = self._feed.world
        me = world.nodes.get(self._node)
        self._probes.watch(me.vtep if me else "", peers(world, self._node) if me else {})
        if not self._decided:
            self._decide_by = self._decide_by or self._now() + _DECIDE
            if not self._probes.settled and self._now() < self._decide_by:
                return False
            self._decided = True
        if self._feed.suspect(self._probes.dead):
            log.warning("peers", node=self._node, dead=sorted(self._probes.dead))
            for delay in _ANNOUNCE:  # again, since who gave the gateway up may have spoken in its name meanwhile
                asyncio.get_running_loop().call_later(delay, self._announce)
        return True

    def _announce(self) -> None:
        intended = self._feed.world.routers
        if isinstance(self._datapath, Layers):
            here = self._plan.routers.items()
            self._datapath.announce(router for name, router in here if name in intended and intended[name].placement)


def _in(loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(wake)
