"""The programs that the kernel runs: by an interpreter of classic BPF, and by the kernel itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.l2.user.front.placing import BUCKETS, bucket
from weft.l2.user.front.steering import Instruction, choose, chooser, take, taker
from weft.wire.vxlan import Vxlan

TABLES = st.lists(st.integers(0, 3), min_size=BUCKETS, max_size=BUCKETS)
VNIS = st.integers(0, (1 << 24) - 1)
UDP = bytes(8)


def result(program: Sequence[Instruction], data: bytes) -> int:
    """As Linux's Documentation/networking/filter.rst says."""
    a, at = 0, 0
    while True:
        code, true, false, k = program[at]
        at += 1
        match code:
            case 0x80:
                a = len(data)
            case 0x20:
                a = int.from_bytes(data[k : k + 4], "big")
            case 0x74:
                a >>= k
            case 0x24:
                a = a * k & 0xFFFFFFFF
            case 0x35:
                at += true if a >= k else false
            case 0x06:
                return k
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


@given(TABLES, VNIS)
def test_a_vni_finds_its_worker(table: list[int], vni: int) -> None:
    datagram = Vxlan(vni).encode() + b"frame"
    assert result(chooser(table, 0), datagram) == table[bucket(vni)]
    takers = [worker for worker in range(4) if result(taker(table, 0, worker), UDP + datagram)]
    assert takers == [table[bucket(vni)]]


@given(TABLES, st.integers(0, 7), st.integers(0, 3))
def test_what_is_too_short_finds_one_too(table: list[int], octets: int, otherwise: int) -> None:
    assert result(chooser(table, otherwise), bytes(octets)) == otherwise
    assert [w for w in range(4) if result(taker(table, otherwise, w), UDP + bytes(octets))] == [otherwise]


def test_the_longest_program_is_one_that_the_kernel_takes() -> None:
    program = chooser([number % 2 for number in range(BUCKETS)], 0)
    assert len(program) == 7 + 255 + 256
    assert all(each.true <= 255 for each in program)


@contextmanager
def receivers(count: int) -> Iterator[list[socket.socket]]:
    made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for each in made:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.setblocking(False)
            each.bind(("127.0.0.1", made[0].getsockname()[1] if each is not made[0] else 0))
        yield made
    finally:
        for each in made:
            each.close()


def heard(by: socket.socket) -> list[bytes]:
    found = []
    try:
        while True:
            found.append(by.recv(2000))
    except BlockingIOError:
        return found


@pytest.mark.parametrize("otherwise", [0, 2])
def test_the_kernel_agrees(otherwise: int) -> None:
    table = [number % 3 for number in range(BUCKETS)]
    said = [Vxlan(vni).encode() + b"frame" for vni in (1, 77, 5000, 5001, 5002, 70_000, (1 << 24) - 1)]
    short = [b"", b"1234567"]
    with receivers(3) as made, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for program in (chooser([1] * BUCKETS, 1), chooser(table, otherwise)):  # one takes the other's place
            choose(made[0], program)
        for datagram in (*said, *short):
            out.sendto(datagram, made[0].getsockname())
        for number, each in enumerate(made):
            mine = [datagram for datagram in said if result(chooser(table, otherwise), datagram) == number]
            assert heard(each) == mine + (short if number == otherwise else [])


def test_the_kernel_filters_as_well() -> None:
    table = [number % 2 for number in range(BUCKETS)]
    said = [Vxlan(vni).encode() + b"frame" for vni in range(5000, 5010)]
    for worker in (0, 1):
        with receivers(1) as (by,), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for wanted in (1 - worker, worker):
                take(by, taker(table, 0, wanted))
            for datagram in (*said, b"short"):
                out.sendto(datagram, by.getsockname())
            own = [each for number, each in enumerate(said) if table[bucket(5000 + number)] == worker]
            assert heard(by) == own + ([] if worker else [b"short"])
