"""Our flow tables in an Open vSwitch without any device: frames go in and come out as octets, nothing needs root.

    vm<VNI> ─ br-int ═ br-tun ─ tunnels ┐
                       192.168.77.1 on br-phy ─ wire
`--enable-dummy=system` makes every device a made-up one (lib/netdev-dummy.c): `netdev-dummy/receive` is a frame that
comes in by it, and what leaves by it stands in a pcap file.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.l2.ovs.conftest import end, eventually
from weft.l2.ovs import process, tables, tunnel
from weft.l2.ovs.flows import Held, Ports
from weft.l2.ovs.ofctl import Ofctl
from weft.wire import pcapng
from weft.wire.ethernet import Ethernet
from weft.wire.packet import Packet, dissect

VTEP, PEERS = "192.168.77.1", ("192.168.77.2", "192.168.77.3")
MAC = "02:00:00:00:ff:01"
NEXT_HOPS = dict(zip(PEERS, ("02:00:00:00:ff:02", "02:00:00:00:ff:03"), strict=True))


class DummySwitch:
    """`held`: its segments; each has one local port, `vm<VNI>`."""

    def __init__(self, place: Path, held: Iterable[Held]) -> None:
        self.place, self.held = place, list(held)
        self._seen: dict[str, int] = {}
        self._running = process.start(place, None, "--enable-dummy=system", "--disable-system")
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        end(self._running.switch)
        end(self._running.database)

    def _build(self) -> None:
        self._vsctl("add-br", "br-int")
        self._vsctl("add-br", "br-tun", "--", "set", "bridge", "br-tun", "fail-mode=secure")
        self._vsctl("add-br", "br-phy", "--", "set", "bridge", "br-phy", f'other-config:hwaddr="{MAC}"')
        self._port("br-phy", "wire", "type=dummy", f"options:tx_pcap={self.place}/wire.pcap")
        for bridge, name, peer in (("br-int", "patch-tun", "patch-int"), ("br-tun", "patch-int", "patch-tun")):
            self._port(bridge, name, "type=patch", f"options:peer={peer}", "ofport_request=1")
        self._vsctl("set", "port", "patch-tun", "protected=true")
        for each in self.held:
            name = f"vm{each.segment.key.vni}"
            self._port("br-int", name, "type=dummy", f"options:tx_pcap={self.place}/{name}.pcap", tag=each.tag)
        for number, peer in enumerate(PEERS, 2):
            # made-up devices have no route of the kind "local", by which an address is known for one's own
            options = {key: text for key, text in tunnel.options((4789, peer), VTEP).items() if key != "local_ip"}
            stated = [f'options:{key}="{text}"' for key, text in options.items()]
            self._port("br-tun", tunnel.name((4789, peer)), "type=vxlan", f"ofport_request={number}", *stated)
        self.control("netdev-dummy/ip4addr", "br-phy", f"{VTEP}/24")
        self.control("ovs/route/add", "192.168.77.0/24", "br-phy")
        for peer, mac in NEXT_HOPS.items():
            self.control("tnl/neigh/set", "br-phy", peer, mac)
        ports = Ports(1, {(4789, peer): number for number, peer in enumerate(PEERS, 2)})
        self.flows.change((), tables.wanted(self.held, ports, "default"))

    @property
    def flows(self) -> Ofctl:
        return Ofctl(self.place / "br-tun.mgmt")

    def control(self, *command: str) -> str:
        environment = os.environ | process.environment(self.place)
        done = subprocess.run(["ovs-appctl", *command], env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    def _vsctl(self, *command: str) -> None:
        environment = os.environ | process.environment(self.place)
        subprocess.run(["ovs-vsctl", "--timeout=60", *command], env=environment, check=True, capture_output=True)

    def _port(self, bridge: str, name: str, *stated: str, tag: int = 0) -> None:
        access = [f"tag={tag}"] if tag else []
        self._vsctl("add-port", bridge, name, *access, "--", "set", "interface", name, *stated)

    def put_in(self, device: str, frame: bytes) -> None:
        self.control("netdev-dummy/receive", device, frame.hex())

    def arrive(self, frame: bytes) -> None:
        """A frame off the wire, to whatever MAC br-phy has here."""
        header, rest = Ethernet.decode(frame)
        self.put_in("wire", Ethernet(MAC, header.src, header.ethertype).encode(rest))

    def came_out(self, device: str, number: int) -> list[Packet]:
        """The next frames out of a device, `number` of them or more; fails where fewer come."""
        before = self._seen.get(device, 0)
        assert eventually(lambda: len(self._out(device)) >= before + number), self._out(device)[before:]
        found = self._out(device)[before:]
        self._seen[device] = before + len(found)
        return [dissect(frame) for frame in found]

    def silent(self, *devices: str) -> None:
        """Nothing came out there that was not asked for. Frames of one device stay in order: what goes in before one
        that is seen to come out has been dealt with."""
        for device in devices:
            assert self._out(device)[self._seen.get(device, 0) :] == []

    def _out(self, device: str) -> list[bytes]:
        path = self.place / f"{device}.pcap"
        return [record.frame for record in pcapng.read(path.read_bytes()).records]
