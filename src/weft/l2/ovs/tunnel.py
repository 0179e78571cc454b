"""Tunnel ports of br-tun: one a peer and UDP port, unicast only; the tunnel id of each frame comes from its flow.

A frame from an address that no tunnel port names reaches no table.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping

from weft.l2.ovs import ovsdb
from weft.l2.ovs.flows import TunnelPort
from weft.l2.ovs.ovsdb import Bridge, Operation, Port
from weft.l2.ovs.switch import Switch
from weft.model.address import UDP_PORT_VXLAN

_KIND = "tunnel"


def name(remote: TunnelPort) -> str:
    """wt and the VTEP in hex, and, where it is not 4789, the UDP port: wtc0a8210d, wtc0a8210d.2118; IPv6 hashed."""
    udp_port, vtep = remote
    octets = ipaddress.ip_address(vtep).packed
    if len(octets) > 4:
        return "wt~" + hashlib.blake2s(octets + udp_port.to_bytes(2, "big"), digest_size=6).hexdigest()
    return f"wt{octets.hex()}" + ("" if udp_port == UDP_PORT_VXLAN else f".{udp_port:x}")


def options(remote: TunnelPort, local: str) -> dict[str, str]:
    """As the kernel's datapath sends: TTL 64 (the default), no DF, UDP checksums. `local` "": as routes say."""
    udp_port, vtep = remote
    stated = {"local_ip": local} if local else {}
    return stated | {
        "remote_ip": vtep,
        "key": "flow",
        "dst_port": str(udp_port),
        "df_default": "false",
        "csum": "true",
    }


def read(switch: Switch, bridge: Bridge | None) -> dict[TunnelPort, Port]:
    """Our tunnel ports."""
    found: dict[TunnelPort, Port] = {}
    for port in bridge.ports.values() if bridge else ():
        udp_port, _, vtep = (switch.ours(port.external_ids, _KIND) or "").partition(" ")
        if vtep and udp_port.isdecimal():
            found[int(udp_port), vtep] = port
    return found


def numbers(found: Mapping[TunnelPort, Port]) -> dict[TunnelPort, int]:
    """OpenFlow port numbers of tunnels that are open."""
    return {
        remote: interface.ofport
        for remote, port in found.items()
        for interface in port.interfaces
        if interface.ofport is not None
    }


def put(switch: Switch, bridge: Bridge, wanted: Mapping[TunnelPort, str]) -> list[Operation]:
    """What makes these tunnels (to → from which address) as stated."""
    there = read(switch, bridge)
    operations: list[Operation] = []
    for remote, local in wanted.items():
        stated = options(remote, local)
        port = there.get(remote)
        if port is None:
            mark = switch.mark(_KIND, f"{remote[0]} {remote[1]}")
            row = {"type": "vxlan", "options": stated, "external_ids": mark}
            operations += ovsdb.add_port(bridge.uuid, name(remote), {"external_ids": mark}, row)
        else:
            for interface in port.interfaces:
                if interface.options != stated or interface.type != "vxlan":
                    operations.append(ovsdb.update("Interface", interface.uuid, type="vxlan", options=stated))
    return operations


def wrong(found: Mapping[TunnelPort, Port], wanted: Mapping[TunnelPort, str]) -> dict[TunnelPort, str]:
    """What is wrong with these tunnels, by tunnel."""
    flaws: dict[TunnelPort, str] = {}
    for remote, local in wanted.items():
        port = found.get(remote)
        if port is None:
            flaws[remote] = f"{name(remote)} is missing"
            continue
        for interface in port.interfaces:
            if interface.options != options(remote, local):
                flaws[remote] = f"{port.name} has other options"
            elif interface.ofport is None:
                flaws[remote] = f"{port.name} is not open: {interface.error or 'ovs-vswitchd has not said why'}"
    return flaws


def drop(bridge: Bridge, ports: Iterable[Port]) -> list[Operation]:
    return [ovsdb.drop_port(bridge.uuid, port) for port in ports]
