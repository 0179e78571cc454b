"""What waits at a socket, gathered so that trains of one kind lie one behind the other and are looked at together.

Merging is mostly the price of its passes over arrays, and that of one train is nearly that of four. Only what waits
already is gathered, and only TCP, since nothing else is merged: what comes as a train of UDP may be one frame that
nobody has cut (weft.l2.user.arrive).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from weft.l2.user.framing import Framing
from weft.l2.user.underlay import Arrival

ROOM = 4 * 65536  # octets that are looked at together: half of a core's cache, with what becomes of them
_ONE = 66000  # octets of the longest train
BUFFER = ROOM + 2 * _ONE  # the last train begins before ROOM; its last datagram is seen as long as the others
_TRAINS = 64
_TCP = 6
_ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}
_ALIGNED = 16


class Gathered(NamedTuple):
    """`arrival` stands in the buffer from `at`."""

    at: int
    arrival: Arrival


def gather(
    receive: Callable[[memoryview], Arrival | None], buffer: memoryview, framing: Framing
) -> tuple[list[Gathered], bool]:
    """What waits, as far as there is room in a buffer of BUFFER octets, in order; whether more may wait.

    `receive` puts what comes next into a buffer; None: nothing waits. Raises OSError where nothing was gathered yet.
    """
    found: list[Gathered] = []
    at = 0
    for _ in range(_TRAINS):
        if at >= ROOM:
            break
        try:
            arrival = receive(buffer[at : at + _ONE])
        except OSError:
            if not found:
                raise
            return found, True
        if arrival is None:
            return found, False
        before = found[-1] if found else None
        if (
            before is not None
            and before.at + before.arrival.octets == at
            and _follows(before.arrival, arrival)
            and _tcp(buffer[at : at + arrival.octets], framing)
        ):
            joined = before.arrival._replace(octets=before.arrival.octets + arrival.octets)
            found[-1] = Gathered(before.at, joined)
        else:
            found.append(Gathered(at, arrival))
        at += arrival.octets
        if not arrival.size or arrival.octets % arrival.size:  # nothing follows a shorter one
            at = -(-at // _ALIGNED) * _ALIGNED
    return found, True


def _follows(before: Arrival, arrival: Arrival) -> bool:
    """Whether two are one train: all datagrams are of one size, but for the last."""
    if not before.size or before.octets % before.size or before.vtep != arrival.vtep or before.tos != arrival.tos:
        return False
    return arrival.size == before.size or arrival.octets <= arrival.size <= before.size


def _tcp(data: memoryview, framing: Framing) -> bool:
    """Whether a datagram begins with an untagged frame or packet of TCP, as far as a glance tells."""
    ip = framing.ip
    if len(data) < ip + 20:
        return False
    version = data[ip] >> 4
    if framing.link and bytes(data[ip - 2 : ip]) != _ETHERTYPE.get(version):
        return False
    return data[ip + (9 if version == 4 else 6)] == _TCP
