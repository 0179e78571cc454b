"""Frames put into a segment by hand, and counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.l2.datapath import Counters, ToPorts, ToTunnels
from weft.l2.ovs import port as ports_of
from weft.l2.ovs import tunnel
from weft.l2.ovs.flows import OWNER_MASK, Held, TunnelPort, owner
from weft.l2.ovs.openflow import packet_out
from weft.l2.ovs.ovsdb import Bridge
from weft.l2.ovs.switch import INTEGRATION, TUNNELS, Switch
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.plan.port import LocalPort
from weft.plan.tables import Table, text


@dataclass(frozen=True, slots=True)
class Outlets:
    """OpenFlow port numbers: of local ports by tag and name, of tunnels by UDP port and remote VTEP."""

    ports: Mapping[int, Mapping[str, int]]
    tunnels: Mapping[TunnelPort, int]

    @staticmethod
    def of(switch: Switch, bridges: dict[str, Bridge]) -> Outlets:
        found: dict[int, dict[str, int]] = {}
        bridge = bridges.get(INTEGRATION)
        for row in bridge.ports.values() if bridge else ():
            # ports that are known by their device's alias alone carry the same mark in the database
            name, numbers = switch.ours(row.external_ids, "port"), [each.ofport for each in row.interfaces]
            if name is not None and row.tag is not None and numbers and numbers[0] is not None:
                found.setdefault(row.tag, {})[name] = numbers[0]
        return Outlets(found, tunnel.numbers(tunnel.read(switch, bridges.get(TUNNELS))))


def inject(switch: Switch, held: Held | None, outlets: Outlets, frame: bytes, to: ToPorts | ToTunnels) -> None:
    """`frame`: from the destination MAC on, without checksum. Raises WeftError."""
    if held is None:
        raise WeftError(Kind.NOT_FOUND, "the segment is not here", where=TUNNELS)
    if isinstance(to, ToTunnels):
        key = held.segment.key
        vteps = [vtep for (vtep,) in text(Table.FLOOD, held.tables.flood)] if to.vtep is None else [to.vtep]
        outputs = [outlets.tunnels[remote] for vtep in vteps if (remote := (key.udp_port, vtep)) in outlets.tunnels]
        if to.vtep is not None and not outputs:
            raise WeftError(Kind.NOT_FOUND, "no tunnel leads there", where=f"VTEP {to.vtep}")
        if outputs:
            switch.sender(TUNNELS).send(packet_out(frame, outputs, key.vni))
        return
    local = outlets.ports.get(held.tag, {})
    outputs = [number for name, number in local.items() if to.port == name or (to.port is None and "/" not in name)]
    if to.port is not None and not outputs:
        raise WeftError(Kind.NOT_FOUND, "no device of the segment leads to this port", where=f"port {to.port}")
    if outputs:
        switch.sender(INTEGRATION).send(packet_out(frame, outputs))


def counters(switch: Switch, held: Mapping[SegmentKey, Held], ports: Mapping[str, LocalPort]) -> Counters:
    """In: from the port or from tunnels into the segment. Drops: what flows of ours dropped, by table."""
    links = {link.name: link for link in switch.host.links.dump()}
    by_port: dict[str, tuple[int, int, int, int]] = {}
    for name, port in ports.items():
        link = links.get(ports_of.device(switch, port))
        if link is not None:
            rx, rx_octets, tx, tx_octets, _, _ = link.counters
            inside = port.attach.kind == "host"  # seen from the host: what it sends is what comes in
            by_port[name] = (tx, tx_octets, rx, rx_octets) if inside else (rx, rx_octets, tx, tx_octets)
    segments = dict.fromkeys(held, (0, 0, 0, 0))
    drops: dict[str, int] = {}
    for flow, packets, octets, _ in switch.flows.counted() if held else ():
        if flow.cookie & OWNER_MASK not in (owner(switch.cluster), owner(switch.cluster, learned=True)):
            continue
        if flow.actions == "drop" and packets:
            drops[f"br-tun table {flow.table}"] = drops.get(f"br-tun table {flow.table}", 0) + packets
        for key in held:
            if key.vni == flow.cookie & ~OWNER_MASK:
                rx, rx_octets, tx, tx_octets = segments[key]
                if flow.table == 2 and "output:" in flow.actions:
                    rx, rx_octets = rx + packets, rx_octets + octets
                elif flow.table in (20, 21) and "output:" in flow.actions:
                    tx, tx_octets = tx + packets, tx_octets + octets
                segments[key] = rx, rx_octets, tx, tx_octets
    return Counters(by_port, segments, drops)
