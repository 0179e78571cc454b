"""A steady ping from inside a namespace, to see what a change costs: one echo request every so often, none waits.

`with probing(namespace, source, target) as probe: …`; afterwards `probe.sent` and `probe.lost` are what came of it.
"""

from __future__ import annotations

import os
import select
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from weft.lab.ping import open_socket, request
from weft.model.address import is_ipv6

_LAST = 5.0  # seconds that answers may take after the last request


class Prober(threading.Thread):
    """Requests numbered from 0 (16 bits go around); `answered` holds the numbers of those that came back."""

    def __init__(self, where: str, source: str, target: str, interval: float) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self.answered: set[int] = set()
        self._source, self._target, self._interval = source, target, interval
        self._socket = open_socket(where, source, target)
        self._family = 6 if is_ipv6(target) else 4
        self._id = int.from_bytes(os.urandom(2), "big")
        self._ended = threading.Event()

    @property
    def lost(self) -> int:
        return self.sent - len(self.answered)

    def run(self) -> None:
        begun = time.monotonic()
        while not self._ended.is_set():
            try:
                self._socket.send(request(self._source, self._target, self._id, self.sent & 0xFFFF))
            except OSError:
                pass  # not sent is lost
            self.sent += 1
            self._listen(begun + self.sent * self._interval)
        deadline = time.monotonic() + _LAST
        while self.lost and time.monotonic() < deadline:
            self._listen(time.monotonic() + self._interval)
        self._socket.close()

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _listen(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                return
            try:
                data = self._socket.recv(1 << 16)
            except OSError:
                continue
            data = data[(data[0] & 15) * 4 :] if self._family == 4 else data
            if len(data) >= 8 and data[0] in (0, 129):
                ident, number = struct.unpack("!HH", data[4:8])
                if ident == self._id:
                    self.answered.add((self.sent - 1) - ((self.sent - 1 - number) & 0xFFFF))


@contextmanager
def probing(where: str, source: str, target: str, interval: float = 0.01) -> Iterator[Prober]:
    """A request every `interval` seconds for as long as the block lasts."""
    prober = Prober(where, source, target, interval)
    prober.start()
    try:
        yield prober
    finally:
        prober.end()
