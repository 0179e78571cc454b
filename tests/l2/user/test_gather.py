"""What is gathered is what came, in order, and is forwarded as if each train had been looked at alone."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.l2.user.framing import BARE, VXLAN
from weft.l2.user.gather import BUFFER, gather
from weft.l2.user.underlay import Arrival

TRAIN = st.tuples(st.integers(1, 3), st.sampled_from([74, 75, 1472]), st.integers(1, 1472), st.booleans())


@given(st.lists(TRAIN, max_size=100))
def test_all_datagrams_in_order(trains: list[tuple[int, int, int, bool]]) -> None:
    waiting, wanted = [], []
    for number, (count, size, last, other) in enumerate(trains):
        tcp = bytes(20) + b"\x08\x00\x45" + bytes(8) + b"\x06" + bytes(10)
        parts = [tcp + bytes((number,)) * (size - len(tcp))] * (count - 1) + [
            (tcp + bytes((number,)) * size)[: min(size, last)]
        ]
        told = Arrival(sum(map(len, parts)), size if count > 1 else len(parts[0]), "b" if other else "a", 0)
        waiting.append((told, b"".join(parts)))
        wanted += [(told.vtep, part) for part in parts]
    buffer = memoryview(bytearray(BUFFER))

    def receive(into: memoryview) -> Arrival | None:
        if not waiting:
            return None
        told, data = waiting.pop(0)
        into[: len(data)] = data
        return told

    found, more = [], True
    while more:
        gathered, more = gather(receive, buffer, VXLAN)
        for at, told in gathered:
            for first in range(at, at + told.octets, told.size):
                end = min(first + told.size, at + told.octets)
                found.append((told.vtep, bytes(buffer[first:end])))
    assert found == wanted


@pytest.mark.parametrize("protocol", [6, 17])
def test_full_trains_of_tcp_are_one(protocol: int) -> None:
    waiting = [Arrival(44 * 1472, 1472, "a", 0)] * 3 + [Arrival(100, 100, "a", 0), Arrival(100, 100, "a", 0)]

    def receive(into: memoryview) -> Arrival | None:
        into[0], into[9] = 0x45, protocol
        return waiting.pop(0) if waiting else None

    found, more = gather(receive, memoryview(bytearray(BUFFER)), BARE)
    assert not more
    together = [3 * 44 * 1472 + 100, 100] if protocol == 6 else [44 * 1472] * 3 + [100, 100]
    assert [told.octets for _, told in found] == together


def test_an_error_behind_something_waits_for_its_turn() -> None:
    waiting: list[Arrival | None] = [Arrival(100, 100, "a", 0), None]

    def receive(into: memoryview) -> Arrival | None:
        told = waiting.pop(0)
        if told is None:
            raise OSError(errno.ECONNREFUSED, "refused")
        return told

    found, more = gather(receive, memoryview(bytearray(BUFFER)), VXLAN)
    assert (len(found), more) == (1, True)
    waiting.insert(0, None)
    with pytest.raises(OSError, match="refused"):
        gather(receive, memoryview(bytearray(BUFFER)), VXLAN)
