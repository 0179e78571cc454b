"""A small fleet for tests: intent in a few words."""

from __future__ import annotations

from typing import Any

from weft.model.intent import Intent
from weft.model.network import DEFAULT_ARP, Learning, Network
from weft.model.node import Node
from weft.model.port import Attach, AttachKind, Port


def nodes(count: int, **more: Any) -> dict[str, Node]:
    return {f"h{i}": Node(name=f"h{i}", vtep=f"192.168.33.{10 + i}", **more) for i in range(1, count + 1)}


def network(name: str, vni: int, **more: Any) -> Network:
    learning = more.get("learning", Learning.CONTROL_PLANE)
    more = {"subnets": ("10.1.1.0/24",), "arp": DEFAULT_ARP[learning]} | more
    return Network(name=name, vni=vni, **more)


def port(name: str, network: str, node: str, number: int, **more: Any) -> Port:
    """A namespace port with MAC 02:…:<number> and IP 10.1.1.<number>."""
    return Port(
        name=name,
        network=network,
        node=node,
        mac=f"02:00:00:00:00:{number:02x}",
        ips=(f"10.1.1.{number}",),
        attach=more.pop("attach", Attach(kind=AttachKind.NAMESPACE, target=name)),
        **more,
    )


def intent(networks: list[Network], ports: list[Port], count: int = 3, **node_options: Any) -> Intent:
    return Intent(
        nodes(count, **node_options),
        {network.name: network for network in networks},
        {},
        {port.name: port for port in ports},
    )
