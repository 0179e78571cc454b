"""A TCP transfer between two namespaces, compared by SHA-256, and single frames or datagrams for tests."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from dataclasses import dataclass

from weft.model.address import is_ipv6
from weft.netlink.namespace import socket_in

_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Transferred:
    """`ok`: all octets arrived, and the same ones. `seconds` from connect to the receiver's last octet."""

    octets: int
    ok: bool
    seconds: float
    error: str = ""

    def __str__(self) -> str:
        if not self.ok:
            return f"{self.octets} octets arrived; {self.error}"
        rate = 8e-6 * self.octets / max(self.seconds, 1e-9)
        return f"{self.octets} octets in {self.seconds:.2f} s, {rate:.0f} Mbit/s"


def tcp(
    source: tuple[str, str], target: tuple[str, str], *, size: int, port: int = 5001, timeout: float = 30.0
) -> Transferred:
    """Sends `size` octets; `source` and `target` are (namespace, IP address). `timeout`: seconds it may stall."""
    family = socket.AF_INET6 if is_ipv6(target[1]) else socket.AF_INET
    with (
        socket_in(target[0], family, socket.SOCK_STREAM) as listener,
        socket_in(source[0], family, socket.SOCK_STREAM) as sender,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for end in (listener, sender):
            end.settimeout(timeout)
        try:
            listener.bind((target[1], port))
            listener.listen(1)
            sender.bind((source[1], 0))
        except OSError as error:
            return Transferred(0, False, 0.0, f"cannot bind: {error.strerror}")
        receiver = _Receiver(listener, timeout)
        begun = time.monotonic()
        receiver.start()
        try:
            sender.connect((target[1], port))
            digest = _send(sender, size)
            sender.shutdown(socket.SHUT_WR)
        except OSError as error:
            receiver.give_up()
            return Transferred(receiver.octets, False, 0.0, f"sender: {error}")
        receiver.join()
        seconds = time.monotonic() - begun
    wrong = receiver.error or ("" if receiver.digest.digest() == digest else "what arrived differs from what was sent")
    return Transferred(receiver.octets, not wrong, seconds, wrong)


def send_udp(where: str, source: str, target: str, port: int, payload: bytes = b"weft") -> None:
    """One datagram, to a broadcast address too. Raises OSError."""
    family = socket.AF_INET6 if is_ipv6(target) else socket.AF_INET
    with socket_in(where, family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.bind((source, 0))
        sender.sendto(payload, (target, port))


def send_frame(where: str, device: str, frame: bytes) -> None:
    """One Ethernet frame out of a device, as it is. Raises OSError."""
    with socket_in(where, socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((device, 0))
        sender.send(frame)


def _send(sender: socket.socket, size: int) -> bytes:
    """Random octets, drawn once and sent turned by one place each time; returns the checksum of all."""
    digest, block, left = hashlib.sha256(), os.urandom(_BLOCK), size
    while left:
        part = block[: min(left, _BLOCK)]
        digest.update(part)
        sender.sendall(part)
        left -= len(part)
        block = block[1:] + block[:1]
    return digest.digest()


class _Receiver(threading.Thread):
    """Accepts one connection and reads it to its end."""

    def __init__(self, listener: socket.socket, timeout: float) -> None:
        super().__init__(name="weft-receiver", daemon=True)
        self._listener = listener
        self._timeout = timeout
        self.octets = 0
        self.digest = hashlib.sha256()
        self.error = ""

    def give_up(self) -> None:
        """Ends the wait for a connection that will not come."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.join()

    def run(self) -> None:
        try:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(self._timeout)
                while part := connection.recv(_BLOCK):
                    self.digest.update(part)
                    self.octets += len(part)
        except OSError as error:
            self.error = f"receiver: {error}"
