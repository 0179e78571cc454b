"""Routes to VTEPs that ovs-vswitchd is told, where it does not read the host's (`--disable-system-route`).

Reading them it forgets them all whenever a link or route of the host changes, and with them its own tunnels, until it
has read them again (route_table_reset in lib/route-table.c, ovs_router_flush in lib/ovs-router.c, which drops the
addresses of lib/tnl-ports.c). Flows that its other threads judge meanwhile go astray: some packets are lost. What it
was told stays. There is no "local" route then, so that a tunnel may not state its own address: the source is the
address that br-phy has towards the peer (ovs_router_lookup).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from weft.l2.ovs.routes import NextHop
from weft.l2.ovs.rpc import Rpc
from weft.model.address import is_ipv6
from weft.model.errors import WeftError

OPTION = "--disable-system-route"  # of ovs-vswitchd
_ROUTE = re.compile(r"User: ([0-9a-f.:]+)/(\d+) dev (\S+)(?: GW (\S+))? SRC (\S+)")


@dataclass(frozen=True, slots=True)
class Told:
    """`system`: ovs-vswitchd reads the host's routes. By VTEP, as told: `hops`, `sources` (from which address)."""

    system: bool = True
    hops: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


def parse(shown: str, device: str) -> Told:
    """Out of what `ovs/route/show` of a switch prints that reads none: routes to single addresses by a device."""
    hops: dict[str, str] = {}
    sources: dict[str, str] = {}
    for line in shown.splitlines():
        found = _ROUTE.match(line)
        if found and found[3] == device and int(found[2]) == _width(found[1]):
            hops[found[1]] = found[4] or found[1]
            sources[found[1]] = found[5]
    return Told(False, hops, sources)


def tell(control: Rpc, device: str, hops: Iterable[NextHop], told: Told, *, anew: bool = False) -> None:
    """Makes these next hops known, by a device; `anew`: those that agree too, whose device may be another.

    A route that ovs-vswitchd refuses is left out: it has no address in the device's network. What nobody needs any more
    stays: to delete a route makes it forget the device's tunnels (rt_entry_delete__ in lib/ovs-router.c).
    """
    for target, address in {hop.target: hop.address for hop in hops}.items():
        if anew or told.hops.get(target) != address:
            gateway = () if address == target else (address,)
            with contextlib.suppress(WeftError):
                control.call("ovs/route/add", f"{target}/{_width(target)}", device, *gateway)


def forget(control: Rpc, told: Told) -> None:
    """Takes back all that was told: there are no tunnels any more."""
    for target in told.hops:
        with contextlib.suppress(WeftError):
            control.call("ovs/route/del", f"{target}/{_width(target)}")


def _width(address: str) -> int:
    return 128 if is_ipv6(address) else 32
