"""Two hosts joined by a veth pair, each with one IP tunnel as flannel's udp backend makes it.

10.2.5.0 flannel0 ── [host 1] ── eth1 ═══ eth1 ── [host 2] ── flannel0 10.2.14.0
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.l2.l2_world import Underlay
from weft.l2.user.iptunnel.tunnels import IpTunnels
from weft.plan import tables
from weft.plan.iptunnel import OVERHEAD, IpTunnel, TunnelPlan, tunnel_diff

OWN = ("10.2.5.0", "10.2.14.0")
DEVICE = "flannel0"


def plan(world: Underlay, host: int, routes: list[tuple[str, str]] | None = None, **changed: object) -> TunnelPlan:
    """Of one host; `routes`: to the other one, unless others are given."""
    tunnel = IpTunnel(DEVICE, f"{OWN[host]}/32", "10.2.0.0/16", world.vteps[host], 8285, 1500 - OVERHEAD)
    tunnel = replace(tunnel, **changed)  # type: ignore[arg-type]
    other = 1 - host
    return TunnelPlan(tunnel, tables.routes([(f"{OWN[other]}/24", world.vteps[other])] if routes is None else routes))


def bring(path: IpTunnels, wanted: TunnelPlan) -> list[str]:
    """Applies the difference, checks that none is left, and returns the operations as text."""
    plans = {wanted.tunnel.device: wanted}
    operations = tunnel_diff(plans, path.observe())
    failed = path.apply(operations)
    assert failed == [], [str(error) for _, error in failed]
    left = tunnel_diff(plans, path.observe())
    assert not left, [str(each) for each in left]
    return [str(each) for each in operations]


@contextmanager
def tunnels(world: Underlay, *hosts: int) -> Iterator[list[IpTunnels]]:
    """Hosts brought to their plans; forwarders end at the end."""
    made: list[IpTunnels] = []
    try:
        for host in hosts or (0, 1):
            made.append(IpTunnels("flannel", world.hosts[host]))
            bring(made[-1], plan(world, host))
        yield made
    finally:
        for path in made:
            path.stop()
            path.close()
