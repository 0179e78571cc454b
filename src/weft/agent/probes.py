"""Probes of peers over the underlay, and answers to theirs: the thin I/O around weft.agent.liveness.

    "WEFT" | version 1 | kind 1: probe, 2: answer | flags 1: ready | 0 | cluster 8 octets | nonce 8 octets

UDP from VTEP address to VTEP address on port 14789. An answer repeats the nonce, which a stranger off the path cannot
know. All of it runs in a thread of its own, so that an agent that is busy applying is not taken for a dead one.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b

from weft.agent.liveness import Liveness
from weft.model.address import UDP_PORT_PROBES, is_ipv6
from weft.netlink.namespace import Namespace, socket_in

_FORMAT = struct.Struct("!4sBBBx8s8s")
_MAGIC, _VERSION, _PROBE, _ANSWER, _READY = b"WEFT", 1, 1, 2, 1
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
_MSG_ERRQUEUE = 0x2000
_LONGEST = 0.25  # seconds of sleep: new peers are noticed by then


class Probes:
    """One node's. `changed` is called, in the thread, when `dead` or `settled` change. `ready` goes into answers."""

    def __init__(self, cluster: str, namespace: Namespace = None) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.ready = False
        self._cluster = blake2b(cluster.encode(), digest_size=8).digest()
        self._namespace = namespace
        self._lock = threading.Lock()
        self._liveness = Liveness()
        self._vtep = ""
        self._addresses: dict[str, str] = {}
        self._nonces: dict[bytes, str] = {}
        self._socket: socket.socket | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def dead(self) -> frozenset[str]:
        with self._lock:
            return self._liveness.dead

    @property
    def settled(self) -> bool:
        with self._lock:
            return self._liveness.settled

    def watch(self, vtep: str, peers: Mapping[str, str]) -> None:
        """This node's VTEP address, and name → address of the peers to probe from it."""
        with self._lock:
            if vtep != self._vtep:
                self._let_go()
            self._vtep, self._addresses = vtep, dict(peers)
            self._liveness.watch(peers, time.monotonic())
        if vtep and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="weft-probes", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        self._let_go()

    def _let_go(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def _run(self) -> None:
        told = (self.dead, self.settled)
        while not self._stop.is_set():
            with self._lock:
                probes = self._open()
                now = time.monotonic()
                if probes:
                    for name in self._liveness.look(now):
                        self._probe(probes, name)
                pause = min(_LONGEST, self._liveness.wait(time.monotonic()))
            if probes and _waiting(probes, pause):
                with self._lock:
                    self._take(probes)
            elif not probes:
                self._stop.wait(_LONGEST)
            if (self.dead, self.settled) != told:
                told = (self.dead, self.settled)
                with contextlib.suppress(RuntimeError):  # the loop that it wakes has ended
                    self.changed()

    def _open(self) -> socket.socket | None:
        """The socket, tried again and again where the address is not there yet."""
        if self._socket is None and self._vtep:
            family = socket.AF_INET6 if is_ipv6(self._vtep) else socket.AF_INET
            made = socket_in(self._namespace, family, socket.SOCK_DGRAM)
            try:
                made.setblocking(False)
                made.setsockopt(*_RECVERR[family], 1)
                made.bind((self._vtep, UDP_PORT_PROBES))
            except OSError:
                made.close()
                return None
            self._socket = made
        return self._socket

    def _probe(self, probes: socket.socket, name: str) -> None:
        nonce = os.urandom(8)
        self._nonces = {old: peer for old, peer in self._nonces.items() if peer in self._addresses}
        if len(self._nonces) > 16 * len(self._addresses):
            self._nonces = dict(list(self._nonces.items())[-8 * len(self._addresses) :])
        self._nonces[nonce] = name
        self._send(probes, _PROBE, nonce, self._addresses[name])

    def _send(self, probes: socket.socket, kind: int, nonce: bytes, address: str) -> None:
        packet = _FORMAT.pack(_MAGIC, _VERSION, kind, _READY if self.ready else 0, self._cluster, nonce)
        with contextlib.suppress(OSError):  # unreachable just now: silence says it
            probes.sendto(packet, (address, UDP_PORT_PROBES))

    def _take(self, probes: socket.socket) -> None:
        """Everything that waits: refusals first, since they make the socket's calls fail."""
        if probes is not self._socket:
            return
        while True:
            self._refusals(probes)
            try:
                packet, sender = probes.recvfrom(64)
            except BlockingIOError:
                return
            except OSError:
                continue
            if len(packet) != _FORMAT.size:
                continue
            magic, version, kind, flags, cluster, nonce = _FORMAT.unpack(packet)
            if (magic, version, cluster) != (_MAGIC, _VERSION, self._cluster):
                continue
            if kind == _PROBE:
                self._send(probes, _ANSWER, nonce, sender[0])
            elif kind == _ANSWER and (name := self._nonces.pop(nonce, None)):
                self._liveness.heard(name, bool(flags & _READY), time.monotonic())

    def _refusals(self, probes: socket.socket) -> None:
        names = {address: name for name, address in self._addresses.items()}
        while True:
            try:
                _, ancillary, _, to = probes.recvmsg(64, 512, _MSG_ERRQUEUE)
            except OSError:
                return
            refused = any(len(data) >= 8 and _refused(data) for _, _, data in ancillary)
            if refused and to and (name := names.get(to[0])):
                self._liveness.refused(name, time.monotonic())


def _waiting(probes: socket.socket, pause: float) -> bool:
    try:
        return bool(select.select([probes], [], [], pause)[0])
    except (OSError, ValueError):  # let go meanwhile, for another address
        return False


def _refused(data: bytes) -> bool:
    """struct sock_extended_err { u32 errno; u8 origin, type, code, …: ICMP port unreachable of either family."""
    _, origin, kind, code = struct.unpack_from("=IBBB", data)
    return (origin, kind, code) in ((2, 3, 3), (3, 1, 4))
