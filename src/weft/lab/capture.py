"""Captures on the underlay: every frame that a machine of the lab sent, once for each LAN it crosses, in order.

One AF_PACKET socket in the fabric's namespace sees all bridge ports; what the bridge itself sends out of a port is
left away (PACKET_IGNORE_OUTGOING), so what remains is what the machines put on the wire. `start` returns once no frame
can be missed; `stop` takes all that came and says whether the kernel dropped any: a capture with gaps judges nothing.
packet(7), linux/if_packet.h.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from weft.lab.topology import Topology
from weft.model.errors import Kind, WeftError
from weft.netlink.namespace import socket_in
from weft.wire import pcapng
from weft.wire.pcap import Interface, Record

_ETH_P_ALL = 0x0003
_SOL_PACKET, _STATISTICS, _AUXDATA, _IGNORE_OUTGOING = 263, 6, 8, 23
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_VLAN_VALID, _TPID_VALID = 0x10, 0x40
_ETH_P_8021Q = 0x8100
_libc = ctypes.CDLL(None, use_errno=True)
_BUFFER = 256 << 20  # octets of frames (and the kernel's own overhead) that may wait for us


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: nanoseconds since the epoch, who sent it (a machine's name, or the device's), and its octets."""

    time: int
    sender: str
    octets: bytes


class Capture:
    """A capture in namespace `where` on `devices` (device → label); all other devices there are passed over.

    `outgoing` adds what this namespace itself sends: wanted in a host, never in the fabric.
    """

    def __init__(self, where: str, devices: Mapping[str, str], *, outgoing: bool = False) -> None:
        self._where = where
        self._devices = dict(devices)
        self._outgoing = outgoing
        self._frames: list[Frame] = []
        self._wake, self._end = os.pipe()
        self._thread = threading.Thread(target=self._read, name="weft-capture", daemon=True)
        self._socket: socket.socket | None = None
        self._failure: OSError | None = None
        self.fault = ""

    def start(self) -> None:
        """From here on no frame is missed."""
        # protocol 0 receives nothing yet: first every option is set, then bind opens the gate
        capture = socket_in(self._where, socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            capture.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:  # in a user namespace the machine's limit holds
            capture.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        capture.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        capture.setsockopt(_SOL_PACKET, _AUXDATA, 1)
        if not self._outgoing:
            capture.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        capture.setblocking(False)
        _bind_all(capture)
        self._socket = capture
        self._thread.start()

    def stop(self, linger: float = 0.05) -> tuple[Frame, ...]:
        """Waits `linger` seconds for frames under way, then ends; `fault` says then whether any were lost."""
        assert self._socket
        time.sleep(linger)
        os.write(self._end, b"x")
        self._thread.join()
        statistics = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8)
        self._socket.close()
        os.close(self._wake)
        os.close(self._end)
        _, lost = struct.unpack("=II", statistics)
        self.fault = str(self._failure or "") or (f"{lost} frames were lost" if lost else "")
        return tuple(self._frames)

    def check(self) -> None:
        """Raises FAILED after a capture with gaps: what was not seen may have been there."""
        if self.fault:
            raise WeftError(
                Kind.FAILED,
                f"the capture cannot be judged: {self.fault}",
                where=self._where,
                remedy="send less during a `packets` step",
            )

    def _read(self) -> None:
        assert self._socket
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                self._drain(self._socket)
                if self._wake in ready:
                    self._drain(self._socket)
                    return
        except OSError as error:
            self._failure = error

    def _drain(self, capture: socket.socket) -> None:
        while True:
            try:
                octets, ancillary, _, address = capture.recvmsg(1 << 17, 256)
            except BlockingIOError:
                return
            if (label := self._devices.get(address[0])) is not None:
                stamp, octets = _complete(octets, ancillary)
                self._frames.append(Frame(stamp, label, octets))


def underlay(topology: Topology, segment: str | None = None) -> Capture:
    """A capture of all LANs, or of one segment; frames are labelled with the machine that sent them."""
    ports = {
        link.port: machine.name
        for machine in topology.machines
        for link in machine.links
        if segment in (None, link.segment)
    }
    return Capture(topology.fabric, ports)


def save(path: Path, frames: Iterable[Frame]) -> None:
    """Writes a pcapng file, an interface for each sender, that Wireshark opens."""
    frames = list(frames)
    names = sorted({frame.sender for frame in frames})
    number = {name: place for place, name in enumerate(names)}
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [Record(frame.time, frame.octets, number[frame.sender]) for frame in frames]
    path.write_bytes(pcapng.write([Interface(name) for name in names], records))


def _bind_all(capture: socket.socket) -> None:
    """Binds to all devices, which socket.bind cannot say: it wants one by name. `struct sockaddr_ll`."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0, 0, 0, 0, b"")
    if _libc.bind(capture.fileno(), address, len(address)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _complete(octets: bytes, ancillary: Iterable[tuple[int, int, bytes]]) -> tuple[int, bytes]:
    """(time, frame) with the VLAN tag put back that the kernel took out of the frame."""
    stamp = 0
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("=qq", data[:16])
            stamp = seconds * 1_000_000_000 + nanoseconds
        elif (level, kind) == (_SOL_PACKET, _AUXDATA):
            status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", data[:20])
            if status & _VLAN_VALID:
                tag = struct.pack("!HH", tpid if status & _TPID_VALID else _ETH_P_8021Q, tci)
                octets = octets[:12] + tag + octets[12:]
    return stamp or time.time_ns(), octets
