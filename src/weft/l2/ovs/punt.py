"""What local hosts say: ARP and ND off their ports, and the MACs that br-int finds on them. What tunnels bring where
ARP is relayed comes by another way (weft.l2.ovs.tunnel_punt).

Frames come from one packet socket for all devices of the namespace, filtered as in the kernel's datapath; it sees them
before they are kept from the host's own stack. MACs are read from br-int's table (`fdb/show`), when its counters
(`fdb/stats-show`), looked at twice a second while somebody watches, say that it changed: ovs-vswitchd tells nobody.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping

from weft.l2.datapath import Heard, Punted
from weft.l2.kernel.punt import LocalDevice
from weft.l2.kernel.punt_filter import ARP_AND_ND
from weft.l2.ovs.port import device as device_of
from weft.l2.ovs.switch import INTEGRATION, Snapshot, Switch
from weft.l2.ovs.timer import Timer
from weft.l2.ovs.tunnel_punt import TunnelPunt
from weft.model.errors import WeftError
from weft.model.network import SegmentKey
from weft.model.port import AttachKind
from weft.netlink.filter import attach
from weft.netlink.namespace import socket_in
from weft.plan.port import LocalPort

_ETH_P_ALL = 0x0003
_SOL_PACKET, _STATISTICS, _IGNORE_OUTGOING = 263, 6, 23
_LONGEST = 256  # octets of a frame that are kept: ND with its options
_ONCE = 512  # frames that one call hands over
_PAUSE = 0.5  # seconds between two readings of br-int's table


def local_devices(
    switch: Switch, snapshot: Snapshot, ports: Iterable[LocalPort], relayed: Collection[SegmentKey]
) -> tuple[dict[str, LocalDevice], dict[tuple[str, int], LocalDevice]]:
    """Ports by the names of their devices, whose frames are heard, and by OpenFlow port and tag, whose MACs are."""
    bridge = snapshot.bridges.get(INTEGRATION)
    devices: dict[str, LocalDevice] = {}
    numbers: dict[tuple[str, int], LocalDevice] = {}
    for each in ports:
        name = device_of(switch, each)
        found = LocalDevice(name, each.segment, each.name, each.segment in relayed)
        if each.attach.kind is not AttachKind.HOST:  # what comes in by its device is what it is sent
            devices[name] = found
        row = bridge.ports.get(name) if bridge else None
        if row is not None and row.tag is not None and not found.relay:
            numbers |= {(str(interface.ofport), row.tag): found for interface in row.interfaces}
    return devices, numbers


class Punt:
    """Listens from the first `watch` on; `learn` is told the ports by whoever observes."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._poll = select.epoll()
        self._timer = Timer(_PAUSE)
        self._poll.register(self._timer.fileno(), select.EPOLLIN)
        self._frames: socket.socket | None = None
        self._tunnels = TunnelPunt(switch.rundir)
        self._counted = ""  # br-int's counters, as of the table that was read
        self._watched: frozenset[SegmentKey] = frozenset()
        self._devices: dict[str, LocalDevice] = {}
        self._numbers: dict[tuple[str, int], LocalDevice] = {}
        self._present: dict[tuple[SegmentKey, str], str] = {}  # MAC → port
        self.dropped = 0

    def close(self) -> None:
        self._stop()
        self._poll.close()
        self._timer.close()

    def fileno(self) -> int:
        return self._poll.fileno()

    def learn(self, devices: Mapping[str, LocalDevice], numbers: Mapping[tuple[str, int], LocalDevice]) -> None:
        """Local ports by device, and by (OpenFlow port, tag) as `fdb/show` names them; what is there is told again."""
        self._devices, self._numbers = dict(devices), dict(numbers)
        self._present, self._counted = {}, ""
        if self._frames is not None:
            self._connect()

    def watch(self, segments: Collection[SegmentKey]) -> None:
        self._watched = frozenset(segments)
        self._present, self._counted = {}, ""
        if self._watched and self._frames is None:
            self._frames = socket_in(
                self._switch.host.namespace, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
            )
            attach(self._frames, ARP_AND_ND)
            self._frames.setblocking(False)
            self._frames.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            self._poll.register(self._frames.fileno(), select.EPOLLIN)
            self._timer.start()
            self._connect()
        elif not self._watched:
            self._stop()

    def read(self) -> list[Punted | Heard]:
        """What has come; never blocks."""
        if self._frames is None:
            return []
        heard: list[Heard] = []
        if self._timer.expired():
            self._timer.start()
            self._connect()
            heard = list(self._heard())
        tunnels = [punted for punted in self._tunnels.read() if punted.segment in self._watched]
        return [*heard, *self._taken(self._frames), *tunnels]

    def _stop(self) -> None:
        if self._frames is not None:
            self._poll.unregister(self._frames.fileno())
            self._frames.close()
            self._frames = None
        self._tunnels.close()

    def _connect(self) -> None:
        if (new := self._tunnels.connect()) is not None:
            self._poll.register(new, select.EPOLLIN)

    def _heard(self) -> Iterator[Heard]:
        if not any(device.segment in self._watched for device in self._numbers.values()):
            return
        try:
            counted = self._switch.control("fdb/stats-show", INTEGRATION)
            if counted == self._counted:
                return
            printed = self._switch.control("fdb/show", INTEGRATION)
        except WeftError:  # it is being restarted; what it knows will be told then
            return
        self._counted = counted
        found: dict[tuple[SegmentKey, str], str] = {}
        fresh: set[tuple[SegmentKey, str]] = set()  # has sent within a second
        for line in printed.splitlines()[1:]:
            number, tag, mac, age = line.split()[:4]
            device = self._numbers.get((number, int(tag)))
            if device is not None and device.segment in self._watched:
                found[device.segment, mac] = device.port
                if age.isdecimal() and int(age) <= 1:
                    fresh.add((device.segment, mac))
        before, self._present = self._present, found
        for (key, mac), port in found.items():
            if before.get((key, mac)) != port:
                yield Heard(key, mac, port, fresh=(key, mac) in fresh)
        for (key, mac), port in before.items():
            if (key, mac) not in found:
                yield Heard(key, mac, port, gone=True)

    def _taken(self, source: socket.socket) -> Iterator[Punted]:
        self.dropped += struct.unpack("=II", source.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1]
        for _ in range(_ONCE):
            try:
                frame, (name, *_) = source.recvfrom(_LONGEST)
            except OSError:  # no more, or its device went away meanwhile
                return
            device = self._devices.get(name)
            if device and device.segment in self._watched and frame[12:14] in (b"\x08\x06", b"\x86\xdd"):
                yield Punted(device.segment, frame, port=device.port)
