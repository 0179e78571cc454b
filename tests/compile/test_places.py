"""A whole network's rows, and its judgement, come to the same from columns as from values one by one."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.compile import strange
from tests.fleet import network, nodes
from weft.compile.endpoints import locations
from weft.compile.judged import few
from weft.compile.node import compile_node
from weft.compile.places import places
from weft.compile.world import World
from weft.model.address import int_to_mac, ip_to_words
from weft.model.endpoint import Endpoint
from weft.model.intent import Intent
from weft.model.network import Arp
from weft.model.port import Attach, AttachKind, Port
from weft.model.router import External, Router
from weft.model.validate import contradictions, problems

BLUE = network("blue", 5000)
ROUTER = Router(name="r", gateways={"blue": ("10.1.1.5",)})
OUTSIDE = External(node="h1", interface="t1", address="50.1.1.1/24")
BORDER = replace(ROUTER, placement=("h1",), external=(OUTSIDE,))
good = st.builds(
    lambda n, node, mac, ip, mobile: Port(
        name=f"p{n}",
        network="blue",
        node=node,
        attach=Attach(kind=AttachKind.TAP, target=f"t{n}"),
        mac=mac,
        ips=(ip,) if ip else (),
        mobile=mobile,
    ),
    st.integers(0, 5),
    st.sampled_from(["h1", "h2", "h3"]),
    st.sampled_from(["", *strange.PLAIN_MACS[1:]]),
    st.sampled_from(["", *strange.PLAIN_IPS[:5]]),
    st.booleans(),
)
seen = st.builds(
    Endpoint,
    key=st.just(BLUE.key),
    mac=st.sampled_from(strange.PLAIN_MACS),
    node=st.sampled_from(strange.NODES),
    ips=st.lists(st.sampled_from(strange.PLAIN_IPS), max_size=2).map(tuple),
    sequence=st.integers(0, 2),
)


def _world(ports: list[Port], sightings: list[Endpoint], routers: list[Router], arp: Arp = Arp.SUPPRESS) -> World:
    networks = {"blue": replace(BLUE, arp=arp), "green": network("green", 6000)}
    world = World(nodes(3), networks, {router.name: router for router in routers})
    for port in ports:
        world.put_port(port.network, port.name, port)
    for endpoint in sightings:
        world.see(endpoint)
    return world


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.one_of(good, good, good, strange.ports), max_size=8),
    st.lists(seen, max_size=8),
    st.sampled_from([[], [ROUTER]]),
)
def test_places_are_the_locations(ports: list[Port], sightings: list[Endpoint], routers: list[Router]) -> None:
    world = _world(ports, sightings, routers)
    found = places(world, BLUE)
    names = world.names.things
    where = {int_to_mac(mac): names[node] for mac, node in zip(found.macs.tolist(), found.nodes.tolist(), strict=True)}
    have = {
        (int_to_mac(mac), high, low)
        for mac, high, low in zip(found.owners.tolist(), found.high.tolist(), found.low.tolist(), strict=True)
    }
    assert len(where) == len(found.macs), "each MAC once"
    assert where.keys().isdisjoint(place.mac for place in found.others)
    one_by_one = list(locations(world, BLUE))
    alike = [place for place in one_by_one if place.mac in where]
    assert where == {place.mac: place.node for place in alike}
    assert have == {(place.mac, *ip_to_words(ip)) for place in alike for ip in place.ips}
    rest = sorted(place for place in one_by_one if place.mac not in where)
    assert sorted(found.others) == rest


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.one_of(good, good, good, good, strange.ports), max_size=6),
    st.sampled_from([[], [ROUTER], [BORDER], [replace(ROUTER, placement=("h2",), namespace="host")]]),
)
def test_few_ports_have_problems_where_all_have(ports: list[Port], routers: list[Router]) -> None:
    world = _world(ports, [], routers)
    twins = len({port.name for port in world.declarations}) < len(world.declarations)
    chosen, whole = few(world), world.intent()
    if chosen is not None:
        wrong = bool(problems(whole) or contradictions(whole, world.facts) or twins)
        assert wrong == bool(problems(chosen) or contradictions(chosen, world.facts))


def test_a_sound_world_of_many_is_judged_by_few_and_its_rows_are_all_there() -> None:
    ports = [
        Port(
            name=f"p{n}",
            network="blue",
            node=f"h{1 + n % 3}",
            attach=Attach(kind=AttachKind.TAP, target=f"t{n}"),
            mac=f"02:00:00:00:00:{n:02x}",
            ips=(f"10.1.1.{n}",),
        )
        for n in range(1, 200)
    ]
    world = _world(ports, [], [])
    chosen = few(world)
    assert chosen is not None
    assert len(chosen.ports) == 3, "one of each node"
    assert not problems(Intent(world.nodes, world.networks, {}, chosen.ports))
    tables = compile_node(world, "h1").tables[BLUE.key]
    assert len(tables.neighbors) == 199
    assert len(tables.fdb) == sum(port.node != "h1" for port in ports)
