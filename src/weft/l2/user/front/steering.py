"""Programs by which the kernel finds a datagram's worker: classic BPF (Documentation/networking/filter.rst).

    length < 8 ?  yes → for datagrams that are no VXLAN
    bucket = the VNI's hash
    bucket ≥ middle ? … a binary search of the runs of equal values, at most 511 instructions

Among the sockets of one address and port (SO_REUSEPORT) a program chooses by their order; it sees the UDP payload
(run_bpf_filter in net/core/sock_reuseport.c). A multicast datagram goes to every socket of its group, each of which has
a program that takes it or not; that one sees the UDP header too (net/ipv4/udp.c). Both are replaced atomically.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from weft.l2.user.front.placing import FACTOR, SHIFT

_ATTACH_FILTER, _ATTACH_REUSEPORT_CBPF = 26, 51
_LD_LENGTH, _LD_WORD, _SHIFT_RIGHT, _MULTIPLY, _AT_LEAST, _RETURN = 0x80, 0x20, 0x74, 0x24, 0x35, 0x06
_HEADER = 8  # octets of VXLAN's, and of UDP's
_TAKEN = 0x7FFFFFFF  # octets


class Instruction(NamedTuple):
    """struct sock_filter."""

    code: int
    true: int
    false: int
    k: int


def chooser(table: Sequence[int], otherwise: int) -> list[Instruction]:
    """The number of the socket for a datagram, by bucket; `otherwise`: for one that is too short."""
    return _program(table, otherwise, 0)


def taker(table: Sequence[int], otherwise: int, worker: int) -> list[Instruction]:
    """Whether a group's datagram is for this worker."""
    return _program([_TAKEN * (each == worker) for each in table], _TAKEN * (otherwise == worker), _HEADER)


def choose(among: socket.socket, program: Sequence[Instruction]) -> None:
    """For all sockets of the address and port of this one. Raises OSError."""
    _attach(among, _ATTACH_REUSEPORT_CBPF, program)


def take(by: socket.socket, program: Sequence[Instruction]) -> None:
    """Raises OSError."""
    _attach(by, _ATTACH_FILTER, program)


def _program(table: Sequence[int], otherwise: int, at: int) -> list[Instruction]:
    runs = [(start, value) for start, value in enumerate(table) if not start or table[start - 1] != value]
    return [
        Instruction(_LD_LENGTH, 0, 0, 0),
        Instruction(_AT_LEAST, 1, 0, at + _HEADER),
        Instruction(_RETURN, 0, 0, otherwise),
        Instruction(_LD_WORD, 0, 0, at + 4),
        Instruction(_SHIFT_RIGHT, 0, 0, 8),
        Instruction(_MULTIPLY, 0, 0, FACTOR),
        Instruction(_SHIFT_RIGHT, 0, 0, SHIFT),
        *_search(runs),
    ]


def _search(runs: Sequence[tuple[int, int]]) -> list[Instruction]:
    if len(runs) == 1:
        return [Instruction(_RETURN, 0, 0, runs[0][1])]
    middle = len(runs) // 2
    below = _search(runs[:middle])  # 255 instructions at most: as far as a jump goes
    return [Instruction(_AT_LEAST, len(below), 0, runs[middle][0]), *below, *_search(runs[middle:])]


def _attach(to: socket.socket, option: int, program: Sequence[Instruction]) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    to.setsockopt(socket.SOL_SOCKET, option, struct.pack("@HP", len(program), ctypes.addressof(code)))
