"""Trains of several VNIs: what is a worker's own, and what goes on to others."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from weft.l2.user.front.strays import LONGEST, Replayed, Strays, read
from weft.l2.user.receiver import Arrival
from weft.model.network import SegmentKey
from weft.wire.vxlan import Vxlan

VTEP, PORT, SOURCE = "192.168.33.12", 4789, "192.168.33.13"


@pytest.fixture
def ends() -> Iterator[tuple[Strays, socket.socket]]:
    worker, front = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    front.setblocking(False)
    with worker, front:
        yield Strays(worker), front


def datagram(vni: int, number: int, length: int = 60) -> bytes:
    return Vxlan(vni).encode() + bytes([number]) * (length - 8)


def own(strays: Strays, datagrams: list[bytes]) -> bytes:
    train = b"".join(datagrams)
    buffer = memoryview(bytearray(train + bytes(100)))
    left = strays.own(VTEP, PORT, Arrival(len(train), len(datagrams[0]), SOURCE, 2), buffer)
    assert (left.size, left.vtep, left.tos) == (len(datagrams[0]), SOURCE, 2)
    return bytes(buffer[: left.octets])


def test_a_train_of_one_vni_stays_as_it_is(ends: tuple[Strays, socket.socket]) -> None:
    strays, front = ends
    train = [datagram(5000, number) for number in range(5)] + [datagram(5000, 9, 20)]
    assert own(strays, train) == b"".join(train)
    with pytest.raises(BlockingIOError):
        front.recv(1)


def test_others_are_passed_on_by_vni_and_in_order(ends: tuple[Strays, socket.socket]) -> None:
    strays, front = ends
    strays.held = {SegmentKey(PORT, 5002)}
    train = [datagram(vni, number) for number, vni in enumerate((5000, 5001, 5002, 5003, 5000, 5001))]
    train.append(datagram(5001, 9, 20))
    assert own(strays, train) == train[0] + train[2] + train[4]
    first, second = read(front.recv(LONGEST)), read(front.recv(LONGEST))
    assert (first.vni, first.octets) == (5001, train[1] + train[5] + train[6])
    assert (second.vni, second.octets) == (5003, train[3])
    assert (first.vtep, first.port, first.source, first.tos, first.size) == (VTEP, PORT, SOURCE, 2, 60)
    assert strays.drops == {}


def test_what_cannot_be_passed_on_is_counted(ends: tuple[Strays, socket.socket]) -> None:
    strays, front = ends
    front.close()
    assert own(strays, [datagram(5000, 1), datagram(5001, 2), datagram(5001, 3)]) == datagram(5000, 1)
    assert strays.drops == {"queue full": 2}


def test_what_was_passed_on_is_received_once(ends: tuple[Strays, socket.socket]) -> None:
    strays, front = ends
    own(strays, [datagram(5000, 1), datagram(5001, 2)])
    front.send(front.recv(LONGEST))
    taken = strays.taken()
    assert isinstance(taken, Replayed)
    buffer = memoryview(bytearray(100))
    octets, ancillary, _, source = taken.recvmsg_into([buffer], 128)
    assert (bytes(buffer[:octets]), source[0], len(ancillary)) == (datagram(5001, 2), SOURCE, 2)
    with pytest.raises(BlockingIOError):
        taken.recvmsg_into([buffer], 128)
    assert strays.taken() is None
