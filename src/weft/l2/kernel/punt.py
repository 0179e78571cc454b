"""What local hosts say: ARP and ND off their ports, and the MACs that a bridge finds on them.

Frames come from one packet socket for all devices of the namespace (packet(7)); its classic BPF filter lets untagged
ARP and ND through and nothing else, and frames that a device sends are left out before they are copied. A tap sees a
frame before the bridge takes it (net/core/dev.c), so that the port it came from is known.

First frames of a MAC come as notifications of the bridge (RTM_NEWNEIGH of AF_BRIDGE), its ageing as RTM_DELNEIGH. A
static row that leads to a tunnel is turned towards a local port as soon as its MAC sends there (br_fdb_update in
net/bridge/br_fdb.c): that is the sign of a move. Such a row stays static, so it gets its age back here.

Both sockets have a bounded buffer. Lost frames are counted; after lost notifications the bridge is read anew.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from weft.l2.datapath import Heard, Punted
from weft.l2.kernel.host import Host
from weft.l2.kernel.punt_filter import ARP_AND_ND, BRIDGE_ROWS
from weft.model.address import int_to_mac
from weft.model.network import SegmentKey
from weft.netlink import message as m
from weft.netlink import neighbor as n
from weft.netlink.channel import Channel
from weft.netlink.filter import attach
from weft.netlink.namespace import socket_in
from weft.plan.tables import FDB, Rows

_ETH_P_ALL = 0x0003
_SOL_PACKET, _STATISTICS, _IGNORE_OUTGOING = 263, 6, 23
_LONGEST = 256  # octets of a frame that are kept: ND with its options
_ONCE = 512  # frames, and notifications, that one call hands over
_BUFFER = 1 << 20
_NOTIFICATIONS = 4 << 20  # a bulk write of rows is told row by row
_NDMSG = struct.Struct("=BxxxiHB")


class LocalDevice(NamedTuple):
    """The device of a local port; in a segment that is relayed (`relay`) also of a router's, and the tunnel's
    (`port` ""). Only frames are punted there, no MACs."""

    name: str
    segment: SegmentKey
    port: str
    relay: bool = False


class Punt:
    """Listens from the first `watch` on; `ports`, by index, are kept up to date by whoever observes."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._poll = select.epoll()
        self._frames: socket.socket | None = None
        self._rows: Channel | None = None
        self._watched: frozenset[SegmentKey] = frozenset()
        self._ports: dict[int, LocalDevice] = {}
        self._tunnels: dict[str, int] = {}
        self._by_name: dict[str, LocalDevice] = {}
        self._waiting: dict[Heard, None] = {}
        self.dropped = 0

    def close(self) -> None:
        self._stop()
        self._poll.close()

    def fileno(self) -> int:
        return self._poll.fileno()

    def learn(self, ports: Mapping[int, LocalDevice], rows: Rows) -> None:
        """The local ports as observed, and all FDB rows there are (dtype weft.netlink.neighbor.ROW)."""
        self._ports = {index: device for index, device in ports.items() if not device.relay}
        self._tunnels = {device.name: index for index, device in ports.items() if not device.port}
        self._by_name = {device.name: device for device in ports.values()}
        if self._watched:
            self._present(rows)

    def watch(self, segments: Collection[SegmentKey]) -> None:
        before, self._watched = self._watched, frozenset(segments)
        if self._watched and self._frames is None:
            self._start()
        elif not self._watched:
            self._stop()
        if self._watched - before:
            self._present(self._host.bulk.dump_fdb())

    def read(self) -> list[Punted | Heard]:
        """What has come; never blocks."""
        heard, self._waiting = self._waiting, {}
        if self._rows is not None:
            heard |= dict.fromkeys(self._changes(self._rows.socket))
        frames = list(self._taken(self._frames)) if self._frames is not None else []
        return [*heard, *frames]

    def _start(self) -> None:
        namespace = self._host.namespace
        self._rows = Channel(namespace=namespace, groups=(n.RTNLGRP_NEIGH,), buffer=_NOTIFICATIONS)
        attach(self._rows.socket, BRIDGE_ROWS)
        self._rows.socket.setblocking(False)
        self._frames = socket_in(namespace, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        attach(self._frames, ARP_AND_ND)
        self._frames.setblocking(False)
        self._frames.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        self._frames.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        for each in (self._rows.fileno(), self._frames.fileno()):
            self._poll.register(each, select.EPOLLIN)

    def _stop(self) -> None:
        if self._rows is not None and self._frames is not None:
            self._poll.unregister(self._rows.fileno())
            self._poll.unregister(self._frames.fileno())
            self._rows.close()
            self._frames.close()
        self._rows = self._frames = None
        self._waiting = {}

    # Frames

    def _taken(self, source: socket.socket) -> Iterator[Punted]:
        lost = struct.unpack("=II", source.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1]  # reading it sets it to 0
        self.dropped += lost
        for _ in range(_ONCE):
            try:
                frame, (name, *_) = source.recvfrom(_LONGEST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO):
                    raise
                continue  # its device went away meanwhile
            device = self._by_name.get(name)
            # What came before the filter was there is told by its first octets.
            if device and device.segment in self._watched and frame[12:14] in (b"\x08\x06", b"\x86\xdd"):
                vtep = None if device.port else self._host.bulk.vtep(self._tunnels[name], frame[6:12])
                yield Punted(device.segment, frame, port=device.port or None, vtep=vtep)

    # MACs

    def _changes(self, source: socket.socket) -> Iterator[Heard]:
        moved: list[tuple[int, str]] = []
        for _ in range(_ONCE):
            try:
                datagram = source.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.dropped += 1
                self._present(self._host.bulk.dump_fdb())
                continue
            for kind, _, _, body in m.messages(datagram):
                _, index, state, _ = _NDMSG.unpack_from(body)
                device = self._ports.get(index)
                if device is None or device.segment not in self._watched or state & n.NUD_PERMANENT:
                    continue
                mac = m.parse(body, 12).get(n.NDA_LLADDR, b"").hex(":")
                if kind == n.RTM_NEWNEIGH and state & n.NUD_NOARP:
                    moved.append((index, mac))
                yield Heard(device.segment, mac, device.port, gone=kind == n.RTM_DELNEIGH)
        self._age(moved)

    def _present(self, rows: Rows) -> None:
        """The MACs that the bridges hold on watched ports now."""
        here = [index for index, device in self._ports.items() if device.segment in self._watched]
        alive = (rows["state"] & (n.NUD_PERMANENT | n.NUD_STALE) == 0) & (rows["flags"] & n.NTF_SELF == 0)
        found = rows[np.isin(rows["ifindex"], np.array(here, "i4")) & alive]
        moved: list[tuple[int, str]] = []
        for index, state, mac in zip(found["ifindex"].tolist(), found["state"].tolist(), found["mac"], strict=True):
            device, text = self._ports[index], int_to_mac(int(mac))
            if state & n.NUD_NOARP:
                moved.append((index, text))
            self._waiting[Heard(device.segment, text, device.port, fresh=bool(state & n.NUD_NOARP))] = None
        self._age(moved)

    def _age(self, moved: list[tuple[int, str]]) -> None:
        """Rows that were static towards a tunnel and lead to a port now: learned rows, as any of that port's."""
        for index in {index for index, _ in moved}:
            rows = np.zeros(sum(1 for each, _ in moved if each == index), FDB)
            rows["mac"] = [int(mac.replace(":", ""), 16) for each, mac in moved if each == index]
            with contextlib.suppress(OSError):  # the port is gone, and its rows with it
                self._host.bulk.age_fdb(index, rows)
