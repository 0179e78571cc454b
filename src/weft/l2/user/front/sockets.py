"""The receiving sockets of all workers, made and kept by the front, and what the kernel is told to choose them by.

For each VTEP address and UDP port there is one socket a worker, in order, since the kernel numbers them by it: all are
kept open as long as anybody has a segment there. The program names only workers that have one, so nothing waits at the
others. A worker that died leaves its socket to the next one, emptied. In a group each worker that has a segment of it
has a socket and membership of its own.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from weft.l2.user import receiver
from weft.l2.user.front import steering
from weft.l2.user.front.placing import Placing, bucket
from weft.plan.segment import Segment

Place = tuple[str, int]  # VTEP address, UDP port


class Name(NamedTuple):
    """One of a worker's sockets; `group` "": the one on the VTEP address."""

    vtep: str
    port: int
    group: str = ""


def named(segment: Segment) -> list[Name]:
    """The sockets that a segment is received by."""
    place = (segment.vtep, segment.key.udp_port)
    return [Name(*place), *([Name(*place, segment.group)] if segment.group else [])]


class Sockets:
    """`lender`: as weft.netlink.outside. Used by one thread at a time, which lives in the host's namespace."""

    def __init__(self, workers: int, lender: str | None) -> None:
        self._workers, self._lender = workers, lender
        self._places: dict[Place, list[socket.socket]] = {}
        self._groups: dict[tuple[Name, int], socket.socket] = {}
        self._tables: dict[Name, tuple[int, ...]] = {}

    def of(self, worker: int, name: Name, where: str) -> socket.socket:
        """A worker's socket, made if it is not there. Raises WeftError, OSError."""
        place = (name.vtep, name.port)
        if not name.group:
            if place not in self._places:
                self._places[place] = self._made(place)
            return self._places[place][worker]
        if (name, worker) not in self._groups:
            index = receiver.interface(name.vtep, where, self._lender)

            def closed(made: socket.socket) -> None:  # until it is steered
                steering.take(made, steering.taker([-1], -1, worker))

            made = receiver.member(*place, name.group, index, self._lender, closed)
            self._groups[name, worker] = made
            self._tables.pop(name, None)
        return self._groups[name, worker]

    def _made(self, place: Place) -> list[socket.socket]:
        receiver.unicast(*place, self._lender).close()  # nobody else has it, who would share it with us
        made: list[socket.socket] = []
        try:
            for _ in range(self._workers):
                made.append(receiver.unicast(*place, self._lender, shared=True))
        except BaseException:
            for each in made:
                each.close()
            raise
        return made

    def steer(self, placing: Placing, needs: Mapping[int, set[Name]]) -> None:
        """Tells the kernel who takes what: of each socket, those workers that need theirs. Raises OSError."""
        for name in set().union(*needs.values()):
            here = [worker for worker, names in needs.items() if name in names]
            table = placing.table(here)
            if self._tables.get(name) == table:
                continue
            if not name.group and (made := self._places.get((name.vtep, name.port))):
                steering.choose(made[0], steering.chooser(table, min(here)))
            for worker in here:
                if name.group and (member := self._groups.get((name, worker))):
                    steering.take(member, steering.taker(table, min(here), worker))
            self._tables[name] = table

    def tidy(self, needs: Mapping[int, set[Name]]) -> None:
        """Closes what nobody needs any more."""
        used = {(name.vtep, name.port) for names in needs.values() for name in names}
        for place in self._places.keys() - used:
            _close(self._places.pop(place))
            self._tables.pop(Name(*place), None)
        for name, worker in [each for each in self._groups if each[0] not in needs.get(each[1], ())]:
            _close([self._groups.pop((name, worker))])
            self._tables.pop(name, None)

    def owner(self, vtep: str, port: int, vni: int) -> int | None:
        """The worker that a datagram is for."""
        table = self._tables.get(Name(vtep, port))
        return table[bucket(vni)] if table else None


def drain(left: socket.socket) -> None:
    """Throws away what waits at a socket that nothing is steered to."""
    with contextlib.suppress(OSError):
        while True:
            left.recv(1)


def _close(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()
