"""Load that goes on until it is told to stop: transfers, datagrams, MACs that come and go, noise, restarts.

Every piece is a thread of its own; what it finds wrong it keeps in `wrong`, which the test wants to be empty.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.l2.l2_world import Overlay, Underlay, bring
from tests.l2.user.frames import udp
from tests.l2.user.stage import Unaccepted, churned, sha256, stream
from weft.l2.user.datapath import UserDatapath
from weft.netlink.namespace import socket_in
from weft.wire.vxlan import Vxlan

FORGED = "02:00:00:00:00:66"
_PATIENCE = 60.0
_HEAD = struct.Struct("!QH")
_BLOCK = random.Random(11).randbytes(1 << 16)
_AWAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.ENXIO, errno.ENODEV)
_PASSING = (*_AWAY, errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED)


class Load(threading.Thread):
    """Calls `step` until `stopping`; `done` counts its answers, an exception ends it and is `wrong`."""

    def __init__(self, name: str, step: Callable[[], int], stopping: threading.Event, pause: float = 0) -> None:
        super().__init__(name=name, daemon=True)
        self._step, self._stopping, self._pause = step, stopping, pause
        self.done = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.done += self._step()
                self._stopping.wait(self._pause)
        except Exception as error:
            self.wrong.append(f"{self.name}: {error!r}")


def transfer(source: str, target: str, address: str, port: int, data: bytes) -> Callable[[], int]:
    """One checksummed transfer; an end point whose address is away just now is tried again."""
    wanted = sha256(data)

    def step() -> int:
        try:
            found = stream(source, target, address, data, port, _PATIENCE)
        except OSError as error:
            if error.errno not in _AWAY and not isinstance(error, Unaccepted):
                raise
            time.sleep(0.1)
            return 0
        if found != wanted:
            raise ValueError(f"{len(data)} octets arrived otherwise than they were sent")
        return len(data)

    return step


def _datagram(number: int) -> bytes:
    size = number * 7919 % 1200
    at = number * 104729 % (len(_BLOCK) - size)
    return _HEAD.pack(number, size) + _BLOCK[at : at + size]


@contextmanager
def datagrams(source: str, target: str, address: str, port: int) -> Iterator[tuple[Callable[[], int], ...]]:
    """A burst of numbered datagrams, and the look at those that have come: lost ones are lawful, wrong ones are not."""
    with socket_in(target, socket.AF_INET, socket.SOCK_DGRAM) as listener, socket_in(source, 2, 2) as out:
        listener.bind(("", port))
        listener.setblocking(False)
        out.setblocking(False)
        sent = 0

        def send() -> int:
            nonlocal sent
            for _ in range(50):
                sent += 1
                try:
                    out.sendto(_datagram(sent), (address, port))
                except OSError as error:
                    if error.errno not in _PASSING:
                        raise
            return 50

        def look() -> int:
            count = 0
            while True:
                try:
                    found = listener.recv(2000)
                except BlockingIOError:
                    return count
                if found != _datagram(_HEAD.unpack_from(found)[0]):
                    raise ValueError(f"a datagram of {len(found)} octets that nobody sent so")
                count += 1

        yield send, look


def churn(namespace: str, frame: bytes) -> Callable[[], int]:
    """Frames of ever new source MACs out of eth0."""
    number = 0

    def step() -> int:
        nonlocal number
        try:
            with socket_in(namespace, socket.AF_PACKET, socket.SOCK_RAW) as out:
                out.bind(("eth0", 0))
                for _ in range(20):
                    number += 1
                    out.send(churned(frame, number))
        except OSError as error:
            if error.errno not in _PASSING:
                raise
        return 20

    return step


def noise(world: Underlay, stranger: str, seed: int) -> Callable[[], int]:
    """Random datagrams at the first host's VTEP, of the second's and of a stranger; and a stranger's forged frame."""
    generator, target = random.Random(seed), (world.vteps[0], 4789)
    forged = Vxlan(5000).encode(udp(b"forged", src=FORGED, dst="ff:ff:ff:ff:ff:ff"))

    def step() -> int:
        for source in (world.vteps[1], stranger):
            with socket_in(world.hosts[1], socket.AF_INET, socket.SOCK_DGRAM) as out:
                out.bind((source, 0))
                for _ in range(10):
                    out.sendto(b"\0" + generator.randbytes(generator.randrange(1400)), target)
                if source == stranger:
                    out.sendto(forged, target)
        return 21

    return step


def restart(path: UserDatapath, overlay: Overlay, world: Underlay) -> Callable[[], int]:
    """The second host's forwarder is ended, in turn by request and by force, and made anew."""
    turn = 0

    def step() -> int:
        nonlocal turn
        turn += 1
        pid = path.pid
        if turn % 2 and pid is not None:
            os.kill(pid, signal.SIGKILL)
            while path.pid == pid:
                time.sleep(0.01)
        else:
            path.stop()
        bring(path, overlay.plan(world, 1))  # type: ignore[arg-type]
        return 1

    return step
