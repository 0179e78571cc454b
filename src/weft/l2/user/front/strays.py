"""Datagrams that a worker got although they are another's: the kernel steers a train by the first of it alone.

Trains are made of datagrams of one flow of the underlay (UDP_GRO), and a sender may put several VNIs into one flow.
What is not the worker's goes by the front to the one whose it is, with all that is known of it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Container

import msgspec

from weft.l2.user.receiver import SOL_UDP, UDP_GRO, Arrival
from weft.l2.user.rx.arrive import uncut
from weft.model.network import SegmentKey

_HEADER = 8
LONGEST = 1 << 17


class Stray(msgspec.Struct, frozen=True):
    """Datagrams of one VNI; `vtep` and `port`: where they were sent to, `source`: who sent them."""

    vtep: str
    port: int
    vni: int
    source: str
    tos: int
    size: int
    octets: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Stray)


def read(message: bytes) -> Stray:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(message)


class Strays:
    """A worker's side. `held`: its segments; `drops` counts what could not be passed on."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.held: Container[SegmentKey] = ()
        self.drops: Counter[str] = Counter()

    def own(self, vtep: str, port: int, arrival: Arrival, buffer: memoryview) -> Arrival:
        """What of a train is of the first one's VNI or of another segment that is held; the rest is passed on."""
        octets, size = arrival.octets, arrival.size
        if octets <= size or size < _HEADER or _alike(buffer, octets, size):
            return arrival
        if uncut(buffer[_HEADER:octets], size) is not None:
            return arrival
        kept: list[memoryview] = []
        others: dict[int, list[memoryview]] = {}
        first = _vni(buffer)
        for at in range(0, octets, size):
            datagram = buffer[at : min(at + size, octets)]
            vni = _vni(datagram)
            own = vni == first or SegmentKey(port, vni) in self.held
            (kept if own else others.setdefault(vni, [])).append(datagram)
        for vni, datagrams in others.items():
            self._pass(Stray(vtep, port, vni, arrival.vtep, arrival.tos, size, b"".join(datagrams)))
        left = b"".join(kept)
        buffer[: len(left)] = left
        return arrival._replace(octets=len(left))

    def _pass(self, stray: Stray) -> None:
        try:
            self.connection.send(_encoder.encode(stray))
        except OSError:
            self.drops["queue full"] += -(-len(stray.octets) // stray.size)

    def taken(self) -> Replayed | None:
        """What was passed to this worker; None: nothing waits."""
        with contextlib.suppress(BlockingIOError):
            if data := self.connection.recv(LONGEST):
                return Replayed(read(data))
        return None


class Replayed:
    """In the place of a receiving socket: has one arrival, which is the worker's own."""

    def __init__(self, stray: Stray) -> None:
        self.stray = stray
        self._read = False

    def recvmsg_into(
        self, buffers: list[memoryview], _: int
    ) -> tuple[int, list[tuple[int, int, bytes]], int, tuple[str, int]]:
        """As of a socket. Raises BlockingIOError when it was read."""
        if self._read:
            raise BlockingIOError
        self._read = True
        stray = self.stray
        buffers[0][: len(stray.octets)] = stray.octets
        tos = (socket.IPPROTO_IP, socket.IP_TOS, bytes([stray.tos]))
        return len(stray.octets), [(SOL_UDP, UDP_GRO, struct.pack("=i", stray.size)), tos], 0, (stray.source, 0)


def _vni(datagram: memoryview) -> int:
    return int.from_bytes(datagram[4:7], "big")


def _alike(buffer: memoryview, octets: int, size: int) -> bool:
    """Whether all datagrams of a train have one VNI."""
    for offset in (6, 5, 4):
        column = buffer[offset:octets:size].tobytes()
        if column.count(column[:1]) != len(column):
            return False
    return True
