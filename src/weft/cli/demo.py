"""`weft demo`: three hosts, two tenants with the same addresses, real packets, and one packet's way taken apart."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import output
from weft.cli.building import building
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.lab.runner import Runner
    from weft.lab.state import LabState
    from weft.model.file import Document
    from weft.wire.packet import Packet


def command(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab up, to look around in.")] = False,
) -> None:
    """Watch an overlay work: no root needed, well under a minute, nothing left behind.

    Three hosts, two tenants with the same addresses and MACs, a distributed gateway for each. Pings within a tenant
    reach, between tenants they do not; then the tables of one host, and one packet as it was captured on the underlay,
    layer by layer.
    """
    from weft.model.file import parse

    begun = time.monotonic()
    text = resources.files("weft.lab").joinpath("demo.yaml").read_text(encoding="utf-8")
    document = parse({"demo.yaml": text})
    name = f"demo-{os.getpid()}"
    with building(name):
        good = _run(document, name, keep)
    if keep:
        output.say(f"\nThe lab stays: weft --lab {name} status · weft lab exec {name}:red-a -- ip address")
        output.say(f"It goes with: weft lab down {name}")
    output.say(f"\n{time.monotonic() - begun:.1f} s. Your own: weft lab up FILE; the file above: weft demo --keep")
    if not good:
        raise typer.Exit(1)


def _run(document: Document, name: str, keep: bool) -> bool:
    from weft.lab import lab

    intent = document.intent
    _head(f"{len(intent.nodes)} hosts, {len(intent.routers)} tenants with the same addresses")
    _fleet(document)
    place = None
    try:
        with output.progress() as tell:
            place = lab.up(
                document,
                name,
                offloads=False,
                source="demo",
                progress=lambda what, done, of: tell(f"{what} {done}/{of}"),
            )
        _head("pings and a transfer between them")
        good = _steps(document, lab.runner_of(place))
        _head("what host h1 knows: its FDB, MAC → VTEP")
        _tables(place)
        _head("one ping from red-a to red-b, as captured on the underlay")
        return _packet(place) and good
    finally:
        if place is not None and not keep:
            lab.down(name)


def _head(text: str) -> None:
    output.paint("\n" + output.colour(f"── {text} ", "bold") + output.colour("─" * max(70 - len(text), 2), "dim"))


def _fleet(document: Document) -> None:
    """The hosts as columns of what is attached to them."""
    intent = document.intent
    rows = []
    for node in intent.nodes.values():
        row = {"host": node.name, "vtep": node.vtep}
        for network in intent.networks.values():
            heading = f"{network.name} (vni {network.vni})"
            row[heading] = "  ".join(
                f"{port.name} {port.ips[0]}"
                for port in intent.ports.values()
                if (port.node, port.network) == (node.name, network.name)
            )
        rows.append(row)
    output.columns(rows, list(rows[0]))


def _steps(document: Document, runner: Runner) -> bool:
    from weft.cli.lab_test import tell_verdict

    verdicts = runner.run(document.lab.expect, progress=partial(tell_verdict, numbered=False))
    return all(verdict.ok for verdict in verdicts)


def _tables(place: LabState) -> None:
    from weft.cli.show import COLUMNS
    from weft.lab import fleet

    output.columns(fleet.rows(place, "h1", "fdb"), COLUMNS["fdb"])


def _packet(place: LabState) -> bool:
    """Captures one ping and takes the request apart; False where none was seen."""
    from weft.lab import lab
    from weft.lab.capture import underlay
    from weft.model.lab import Ping, Step
    from weft.wire.packet import dissect

    seen = underlay(place.record().topology)
    seen.start()
    lab.runner_of(place).run([Step(action=Ping(source="red-a", to="red-b"))])
    packets = [(frame, dissect(frame.octets)) for frame in seen.stop()]
    tunnelled = [(frame, packet) for frame, packet in packets if packet.vxlan]
    if not tunnelled:
        raise WeftError(Kind.FAILED, "no VXLAN packet was seen on the underlay", remedy="weft doctor")
    first, request = tunnelled[0]
    output.say(
        f"{len(first.octets)} octets leave {first.sender}; ARP was answered there, so nothing else is on the wire:"
    )
    for depth, (layer, text) in enumerate(_layers(request)):
        output.paint(f"  {'  ' * depth}{output.colour(f'{layer:<9}', 'cyan')} {output.colour(text, '')}")
    if len(tunnelled) > 1:
        from weft.wire.describe import describe

        output.say(f"and {tunnelled[1][0].sender} answers:\n  {describe(tunnelled[1][1])}")
    return True


def _layers(packet: Packet) -> Iterator[tuple[str, str]]:
    """Every header from the outside in: its name, and what it says."""
    if packet.ethernet:
        yield "Ethernet", f"{packet.ethernet.src} → {packet.ethernet.dst}"
    if packet.ip:
        yield "IP", f"{packet.ip.src} → {packet.ip.dst}, TTL {packet.ip.ttl}, {packet.ip.packet_length} octets"
    if packet.udp:
        why = " (source: a hash of the inner flow, so that ECMP can spread flows)" if packet.vxlan else ""
        yield "UDP", f"{packet.udp.src_port} → {packet.udp.dst_port}{why}"
    if packet.vxlan:
        yield "VXLAN", f"VNI {packet.vxlan.vni}: the tenant"
    if packet.icmp:
        yield "ICMP", f"echo request, id {packet.icmp.ident}, sequence {packet.icmp.seq}, {len(packet.payload)} octets"
    if packet.inner:
        yield from _layers(packet.inner)
