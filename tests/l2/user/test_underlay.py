"""The underlay's sockets on the loopback device, with a kernel that refuses."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from weft.l2.user import underlay as module
from weft.l2.user.receiver import SOL_UDP, UDP_SEGMENT
from weft.l2.user.underlay import Underlay

PATIENCE = 60.0
HERE = "127.0.0.1"
TRAIN = bytes(range(200)) * 5


class Refusing:
    """A socket by which no train leaves while `refuses`; `asked`: how many would have."""

    def __init__(self, inner: socket.socket) -> None:
        self.inner, self.asked, self.refuses = inner, 0, True

    def sendmsg(self, parts: Any, ancillary: Any, flags: int, to: tuple[str, int]) -> int:
        if any((level, kind) == (SOL_UDP, UDP_SEGMENT) for level, kind, _ in ancillary):
            self.asked += 1
            if self.refuses:
                raise OSError(errno.EIO, "Input/output error")
        return self.inner.sendmsg(parts, ancillary, flags, to)

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def underlay() -> Iterator[Underlay]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((HERE, 0))
        port = free.getsockname()[1]
    made = Underlay(HERE, port)
    yield made
    made.close()


def arrived(underlay: Underlay, octets: int) -> list[bytes]:
    """The datagrams that come, until there are so many octets."""
    buffer, found = memoryview(bytearray(1 << 17)), list[bytes]()
    while sum(map(len, found)) < octets:
        assert select.select([underlay.unicast], [], [], PATIENCE)[0], f"only this came: {found}"
        came = underlay.receive(underlay.unicast, buffer)
        assert came is not None
        found += [bytes(buffer[at : min(at + came.size, came.octets)]) for at in range(0, came.octets, came.size)]
    return found


def test_what_takes_no_trains_gets_datagrams(underlay: Underlay, monkeypatch: pytest.MonkeyPatch) -> None:
    """IPsec, or an older kernel's device without checksums; after a while it is tried again."""
    monkeypatch.setattr(module, "_AGAIN", 2)
    refusing = Refusing(underlay._senders[0])
    monkeypatch.setattr(underlay, "_senders", [refusing])
    for asked in (1, 1, 1, 2):
        underlay.send_train(0, HERE, memoryview(TRAIN[:970]), 200, 0)
        assert refusing.asked == asked
        assert arrived(underlay, 970) == [TRAIN[at : min(at + 200, 970)] for at in range(0, 970, 200)]
    refusing.refuses = False
    for _ in range(3):
        underlay.send_train(0, HERE, memoryview(TRAIN), 200, 0)
        assert arrived(underlay, 1000) == [TRAIN[at : at + 200] for at in range(0, 1000, 200)]
    assert refusing.asked == 3
