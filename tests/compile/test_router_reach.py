"""Over random topologies: an end point reaches exactly what the intent says, and tunnels never see an anycast MAC."""

from __future__ import annotations

import pytest

from tests.tenants import meant, topology
from tests.walk import Walk
from weft.compile.macs import anycast_mac
from weft.compile.node import compile_node, recompile
from weft.compile.world import World
from weft.model.network import Arp
from weft.model.validate import problems
from weft.plan.node import NodePlan

TOPOLOGIES = 400


def plans(world: World) -> dict[str, NodePlan]:
    return {name: compile_node(world, name) for name in world.nodes}


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.system) for part in range(1, 8))])
def test_reach_is_what_the_intent_says(part: int) -> None:
    asked = 0
    for seed in range(part, TOPOLOGIES, 8):
        intent = topology(seed)
        assert problems(intent) == [], seed
        walk = Walk(plans(World.of(intent)))
        anycast = {anycast_mac(r.name, intent.networks[n].key) for r in intent.routers.values() for n in r.gateways}
        for a in intent.ports.values():
            for b in intent.ports.values():
                for ip in b.ips if a is not b else ():
                    end = walk.send(a.node, walk.plans[a.node].ports[a.name], ip)
                    reached = end is not None and intent.ports[end].network == b.network
                    twin = meant(intent, a, b, ip)
                    shadowed = any(
                        ip in c.ips and meant(intent, a, c, ip) for c in intent.ports.values() if c.network != b.network
                    )
                    assert reached == twin or shadowed, f"seed {seed}: {a.name} → {ip} of {b.name} ends at {end}"
                    assert not twin or end == b.name, f"seed {seed}: {a.name} → {ip} of {b.name} ends at {end}"
                    macs = {mac for _, *pair in walk.tunnels for mac in pair}
                    assert anycast.isdisjoint(macs), f"seed {seed}: an anycast MAC in a tunnel"
                    asked += 1
    assert asked > 1000, asked


@pytest.mark.system
def test_routers_on_the_way_are_as_many_as_each_kind_has() -> None:
    seen: set[tuple[str, int]] = set()
    for seed in range(TOPOLOGIES):
        intent = topology(seed)
        walk = Walk(plans(World.of(intent)))
        for a in intent.ports.values():
            for b in intent.ports.values():
                router = next((r for r in intent.routers.values() if {a.network, b.network} <= r.gateways.keys()), None)
                if router is None or a is b or a.network == b.network or a.ips[0] in b.ips:
                    continue
                arps = {intent.networks[a.network].arp, intent.networks[b.network].arp}
                assert walk.send(a.node, walk.plans[a.node].ports[a.name], b.ips[0]) == b.name, seed
                kind = "centralized" if router.placement else "symmetric" if router.vni else "asymmetric"
                if Arp.PROXY not in arps:
                    seen.add((kind + (" at home" if a.node == b.node else ""), len(walk.routers)))
    assert seen == {
        ("centralized", 1),
        ("centralized at home", 1),
        ("asymmetric", 1),
        ("asymmetric at home", 1),
        ("symmetric", 2),
        ("symmetric at home", 1),
    }


@pytest.mark.thorough
def test_recompiling_what_changed_gives_the_whole_plan() -> None:
    for seed in range(0, TOPOLOGIES, 5):
        intent = topology(seed)
        world = World.of(intent)
        before = plans(world)
        name = sorted(intent.ports)[seed % len(intent.ports)]
        gone = intent.ports[name]
        world.put_port(gone.network, name, None)
        for node in world.nodes:
            assert recompile(before[node], world, [gone.network]) == compile_node(world, node), f"seed {seed}"


@pytest.mark.system
def test_no_remote_entry_for_a_mac_of_this_node() -> None:
    """Its ports', its gateways' own and the anycast ones, which every node has."""
    for seed in range(TOPOLOGIES):
        for node, plan in plans(World.of(topology(seed))).items():
            irbs = [irb for router in plan.routers.values() for irb in router.interfaces]
            for key, tables in plan.tables.items():
                macs = {port.mac for port in plan.ports.values() if port.segment == key}
                macs |= {mac for irb in irbs if irb.segment == key for mac in (irb.mac, irb.anycast) if mac}
                own = {int(mac.replace(":", ""), 16) for mac in macs}
                assert own.isdisjoint(tables.fdb["mac"].tolist()), f"seed {seed}, {node}"
