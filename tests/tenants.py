"""Random fleets with tenants: networks, routers of every kind, ports; and what such an intent lets reach what."""

from __future__ import annotations

import random

import msgspec

from tests.fleet import nodes
from weft.model.intent import Intent
from weft.model.network import Arp, Learning, Network
from weft.model.port import Attach, AttachKind, Port
from weft.model.router import Router


def topology(seed: int) -> Intent:
    """Up to five nodes, six networks (tenants with the same subnets), routers of every kind, twenty ports."""
    draw = random.Random(seed)
    count = draw.randint(1, 5)
    networks: dict[str, Network] = {}
    routers: dict[str, Router] = {}
    for tenant in range(draw.randint(1, 3)):
        kind = draw.choice(["asymmetric", "symmetric", "centralized", "none"])
        names = [f"t{tenant}n{i}" for i in range(draw.randint(1, 3))]
        gateways: dict[str, tuple[str, ...]] = {}
        for i, name in enumerate(names):
            learning = draw.choice([*Learning]) if kind == "centralized" else Learning.CONTROL_PLANE
            arps = [Arp.FLOOD] if learning is Learning.DATA_PLANE else [Arp.SUPPRESS, Arp.SUPPRESS, Arp.FLOOD]
            arp = draw.choice([*arps, Arp.PROXY] if kind in ("asymmetric", "symmetric") else arps)
            six = arp is not Arp.PROXY and draw.random() < 0.5
            subnets = (f"10.1.{i}.0/24", *((f"2001:db8:{i + 1}::/64",) if six else ()))
            vni = 10 * (tenant + 1) + i
            networks[name] = Network(name=name, vni=vni, subnets=subnets, learning=learning, arp=arp)
            gateways[name] = (f"10.1.{i}.1", *((f"2001:db8:{i + 1}::1",) if six else ()))
        if kind != "none":
            placement = tuple(draw.sample([f"h{n}" for n in range(1, count + 1)], draw.randint(1, count)))
            routers[f"r{tenant}"] = Router(
                name=f"r{tenant}",
                gateways=gateways,
                vni=5000 + tenant if kind == "symmetric" else None,
                placement=placement if kind == "centralized" else (),
            )
    ports: dict[str, Port] = {}
    for number in range(draw.randint(2, 20)):
        network = networks[draw.choice(sorted(networks))]
        name = f"p{number}"
        subnet = network.subnets[0].removesuffix("0/24")
        six = tuple(text.removesuffix("/64") + f"{number + 16:x}" for text in network.subnets[1:])
        ports[name] = Port(
            name=name,
            network=network.name,
            node=f"h{draw.randint(1, count)}",
            mac=f"02:00:00:00:00:{number:02x}",
            ips=(f"{subnet}{number + 10}", *six),
            attach=Attach(kind=AttachKind.NAMESPACE, target=name),
        )
    return Intent(nodes(count), networks, routers, ports)


def meant(intent: Intent, a: Port, b: Port, ip: str) -> bool:
    """Whether the intent lets `a` reach this address of `b`."""
    if (":" in ip) not in {":" in own for own in a.ips}:
        return False
    if a.network == b.network:
        return True
    return any({a.network, b.network} <= router.gateways.keys() for router in intent.routers.values())


def overlapping(intent: Intent) -> Intent:
    """The same with ports numbered network by network: tenants use the same addresses, and networks the same MACs."""
    ports: dict[str, Port] = {}
    for network in intent.networks.values():
        for index, port in enumerate(port for port in intent.ports.values() if port.network == network.name):
            four, *six = port.ips
            six = [f"{ip.rpartition(':')[0]}:{index + 16:x}" for ip in six]
            ips = (f"{four.rpartition('.')[0]}.{index + 10}", *six)
            ports[port.name] = msgspec.structs.replace(port, mac=f"02:00:00:00:00:{index:02x}", ips=ips)
    return Intent(intent.nodes, intent.networks, intent.routers, ports)
