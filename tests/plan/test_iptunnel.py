"""The diff of IP tunnels: plans in, exact operations out."""

from __future__ import annotations

from weft.plan import tables
from weft.plan.iptunnel import IpTunnel, TunnelPlan, tunnel_diff

TUNNEL = IpTunnel("flannel0", "10.2.5.0/32", "10.2.0.0/16", "192.168.136.5", 8285, 1472)


def plan(*routes: tuple[str, str], tunnel: IpTunnel = TUNNEL, flaws: tuple[str, ...] = ()) -> dict[str, TunnelPlan]:
    return {tunnel.device: TunnelPlan(tunnel, tables.routes(routes), flaws)}


def text(wanted: dict[str, TunnelPlan], actual: dict[str, TunnelPlan]) -> list[str]:
    return [str(operation) for operation in tunnel_diff(wanted, actual)]


def test_from_nothing_and_back() -> None:
    whole = plan(("10.2.14.0/24", "192.168.136.14"))
    assert text(whole, {}) == [
        "+ ip tunnel flannel0: 10.2.5.0/32 for 10.2.0.0/16 from 192.168.136.5 port 8285 mtu 1472",
        "+ route flannel0: 10.2.14.0/24 → 192.168.136.14",
    ]
    assert text(whole, whole) == []
    assert text({}, whole) == ["- ip tunnel flannel0"]


def test_routes_come_before_others_go() -> None:
    there = plan(("10.2.14.0/24", "192.168.136.14"), ("10.2.15.0/24", "192.168.136.15"))
    wanted = plan(("10.2.14.0/24", "192.168.136.99"), ("10.2.16.0/24", "192.168.136.15"))
    assert text(wanted, there) == [
        "+ route flannel0: 10.2.14.0/24 → 192.168.136.99\n+ route flannel0: 10.2.16.0/24 → 192.168.136.15",
        "- route flannel0: 10.2.15.0/24 → 192.168.136.15",
    ]


def test_changes_and_flaws_say_why() -> None:
    smaller = IpTunnel("flannel0", "10.2.5.0/32", "10.2.0.0/16", "192.168.136.5", 8285, 1422)
    assert text(plan(tunnel=smaller), plan(flaws=("flannel0 is down",))) == [
        "~ ip tunnel flannel0: mtu 1472 → 1422, flannel0 is down"
    ]
