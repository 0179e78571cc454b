"""Next hops of tunnels: their MACs are known to ovs-vswitchd before the first packet, and as they are now.

ovs-vswitchd, forwarding by itself, asks for a next hop with the first packet, which is lost, and believes the answer
for 900 s. So the kernel is told to keep the next hops resolved, and what it knows is told to ovs-vswitchd: when a
tunnel is made, and whenever the kernel learns better. That matters for a peer that comes up after us: it asks for us,
the kernel takes its MAC from the question, and ovs-vswitchd listens to answers alone.
lib/tnl-neigh-cache.c of Open vSwitch (tnl_arp_snoop); net/core/neighbour.c (NTF_EXT_MANAGED).
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from weft.l2.ovs import routes, told_routes
from weft.l2.ovs.switch import UNDERLAY, Switch
from weft.l2.ovs.told_routes import Told
from weft.model.errors import WeftError
from weft.netlink import neighbor as n
from weft.netlink.channel import Channel, NetlinkError

_BUFFER = 1 << 20


class NextHops:
    """Those of one host. Nothing is done where the kernel has a datapath of Open vSwitch, which finds them itself."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._remotes: frozenset[str] = frozenset()
        self._wanted: frozenset[str] = frozenset()  # addresses of their next hops
        self._news: Channel | None = None

    def listen(self) -> int | None:
        """From here on `read` has something to say; the descriptor that tells when."""
        if self._news is None and self._switch.userspace:
            self._news = Channel(namespace=self._switch.host.namespace, groups=(n.RTNLGRP_NEIGH,), buffer=_BUFFER)
        return self._news.fileno() if self._news else None

    def know(self, remotes: Collection[str], told: Told) -> list[str]:
        """The VTEPs that tunnels lead to, and what ovs-vswitchd was told of routes, as observed: who was started anew
        asks for nothing, and still tells. Returns those VTEPs to which it takes no route."""
        if not self._switch.userspace or (told.system and self._remotes == frozenset(remotes)):
            return []
        hops = self._find(remotes)
        if told.system or all(told.hops.get(hop.target) == hop.address for hop in hops):
            return []
        with self._switch.controlled() as control:
            told_routes.tell(control, UNDERLAY, hops, told)
        taken = self._switch.told().hops
        return [hop.target for hop in hops if hop.target not in taken]

    def want(self, remotes: Collection[str]) -> None:
        """Resolves the next hops to these VTEPs, and keeps them. No harm where one does not answer."""
        if not self._switch.userspace:
            return
        hops, told = self._find(remotes), self._switch.told()
        if not told.system:
            with self._switch.controlled() as control:
                if remotes:
                    told_routes.tell(control, UNDERLAY, hops, told, anew=True)
                else:
                    told_routes.forget(control, told)
        for hop in {hop.address: hop for hop in hops}.values():
            with contextlib.suppress(WeftError, NetlinkError):  # the first packet will ask then
                routes.keep_resolved(self._switch.host.channel, hop)
        self.tell()

    def _find(self, remotes: Collection[str]) -> list[routes.NextHop]:
        port = self._switch.host.links.get(UNDERLAY)
        found = [routes.next_hop(self._switch.host.channel, remote) for remote in remotes] if port else []
        hops = [hop for hop in found if hop and port and hop.device == port.index]
        self._remotes, self._wanted = frozenset(remotes), frozenset(hop.address for hop in hops)
        return hops

    def tell(self) -> None:
        """Everything that the kernel knows of them now, told to ovs-vswitchd."""
        if self._wanted and (port := self._switch.host.links.get(UNDERLAY)) is not None:
            for address, mac in routes.neighbors(self._switch.host.channel, port).items():
                self._tell(address, mac)

    def read(self) -> None:
        """Tells what the kernel has learned since the last call; never blocks."""
        if self._news is None or (port := self._switch.host.links.get(UNDERLAY)) is None:
            return
        found: dict[str, str] = {}
        for told in self._news.heard():
            if told is None:
                found |= routes.neighbors(self._switch.host.channel, port)
            elif told[0] == n.RTM_NEWNEIGH and (seen := routes.neighbor(told[2], port.index)):
                found |= dict([seen])
        for address, mac in found.items():
            self._tell(address, mac)

    def _tell(self, address: str, mac: str) -> None:
        if address in self._wanted:
            with contextlib.suppress(WeftError):  # it is being restarted; all is told anew when it is back
                self._switch.control("tnl/neigh/set", UNDERLAY, address, mac)

    def close(self) -> None:
        if self._news is not None:
            self._news.close()
            self._news = None
