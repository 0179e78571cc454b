"""A train of datagrams → few big TCP frames, as the kernel's generic receive offload does it.

Linux hands over datagrams of one outer flow and one size as a train (UDP_GRO). Neighbors that carry consecutive
segments of one inner TCP flow, alike in all other header fields, become one frame with a GSO header, so that the
receiving stack works once for all of them. Every comparison is made for all datagrams at once.

Only segments whose checksum is right are joined, as in the kernel: a stack that passes the big frame on (a router's, a
bridge's) cuts it again and gives each segment a checksum that is made anew, so damage would be hidden for good. A
segment that is damaged stays alone with the checksum it has. What is joined goes as unfinished (NEEDS_CSUM). Senders
on the same machine leave checksums so too, for a NIC that never comes: they hold the pseudo header's sum only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from weft.l2.user import vnet
from weft.l2.user.checksums import MODULUS, Numbers, Octets, column, complement, sums, total
from weft.l2.user.rx.layout import Layout
from weft.l2.user.vnet import Offload

_ACK, _PSH, _TCP, _CHECKSUM = 0x10, 0x08, 6, 16
_LONGEST = 65535  # octets of an IP packet


@dataclass(frozen=True, slots=True)
class Run:
    """Datagrams `first` up to `end` (not included) carry one stretch of a TCP stream."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Train:
    """Datagrams, one a row; `lengths`: octets of each."""

    rows: Octets
    lengths: Numbers
    shape: Layout
    runs: list[Run]


@lru_cache(maxsize=64)
def _must_agree(shape: Layout) -> npt.NDArray[np.bool_]:
    """Columns of headers without lengths, identification, sequence, flags and checksums."""
    columns = np.ones(shape.payload, bool)
    ip, tcp = shape.ip, shape.tcp
    spans = [(tcp + 4, tcp + 8), (tcp + 13, tcp + 14), (tcp + 16, tcp + 18)]
    spans += [(ip + 2, ip + 6), (ip + 10, ip + 12)] if shape.version == 4 else [(ip + 4, ip + 6)]
    for start, end in spans:
        columns[start:end] = False
    return columns


@lru_cache(maxsize=64)
def _kind(shape: Layout) -> tuple[list[int], Octets]:
    """Places, and which bits there, say that a datagram is laid out so."""
    ip, tcp = shape.ip, shape.tcp
    bits = {ip: 0xF0, ip + 6: 0xFF, tcp + 12: 0xF0}
    if shape.version == 4:
        bits = {ip: 0xFF, ip + 6: 0x3F, ip + 7: 0xFF, ip + 9: 0xFF, tcp + 12: 0xF0}
    if ip > shape.frame:
        bits |= {ip - 2: 0xFF, ip - 1: 0xFF}
    return list(bits), np.array(list(bits.values()), np.uint8)


def train(rows: Octets, lengths: Numbers, shape: Layout) -> Train:
    """Looks through datagrams (rows, of these lengths) for runs, in order; `shape` is the first one's."""
    ip, tcp = shape.ip, shape.tcp
    data = lengths - shape.payload
    at, before = (ip + 2, ip) if shape.version == 4 else (ip + 4, ip + 40)
    stated = column(rows, at, 2).astype(np.int64) + before
    flags = rows[:, tcp + 13]
    good = (stated == lengths) & (data > 0) & ((flags | _PSH) == (_ACK | _PSH))
    places, bits = _kind(shape)
    kinds = rows[:, places] & bits
    good &= (kinds == kinds[0]).all(axis=1)
    if shape.version == 4:
        good &= sums(rows[:, ip:tcp]) % MODULUS == 0
    start, end = (ip + 12, ip + 20) if shape.version == 4 else (ip + 8, ip + 40)
    pseudo = lengths + sums(rows[:, start:end]) % MODULUS + (_TCP - tcp)
    stands = column(rows, tcp + _CHECKSUM, 2)
    good &= ((pseudo + _sums(rows, lengths, tcp)) % MODULUS == 0) | ((stands - pseudo) % MODULUS == 0) & (stands != 0)
    sequence = column(rows, tcp + 4, 4).astype(np.int64)
    field = rows[:, : shape.payload]
    differs = field[1:] != field[:-1]
    differs &= _must_agree(shape)
    joined = ~differs.any(axis=1)
    joined &= good[1:] & good[:-1] & (sequence[1:] == (sequence[:-1] + data[:-1] & 0xFFFFFFFF)) & (flags[:-1] == _ACK)
    if shape.version == 4 and not rows[0, ip + 6] & 0x40:  # without "don't fragment" identifications count up
        ident = column(rows, ip + 4, 2).astype(np.int64)
        joined &= ident[1:] == (ident[:-1] + 1 & 0xFFFF)
    edges = [0, *(np.flatnonzero(~joined) + 1).tolist(), len(rows)]
    return Train(rows, lengths, shape, _bounded([Run(a, b) for a, b in pairwise(edges)], lengths, shape))


def _sums(rows: Octets, lengths: Numbers, start: int) -> Numbers:
    """The sum of every datagram from `start` to its end; all but the last one are as long as their rows."""
    size, last = rows.shape[1], int(lengths[-1])
    even = size - (size - start) % 2
    found = sums(rows[:, start:even])
    if even < size:
        found += rows[:, even].astype(np.int64) << 8
    if last < size:
        found[-1] = total(rows[-1, start:last].tobytes() + bytes((last - start) % 2)) % MODULUS
    return found


def _bounded(runs: list[Run], lengths: Numbers, shape: Layout) -> list[Run]:
    """The same, none longer than an IP packet can say."""
    most = (_LONGEST - shape.payload + shape.ip) // max(1, int(lengths[0]) - shape.payload)
    if len(lengths) <= most:
        return runs
    return [Run(first, min(first + most, run.end)) for run in runs for first in range(run.first, run.end, max(1, most))]


def merged(train: Train, run: Run, out: memoryview) -> int:
    """Writes offload header and frame of a run of two or more into `out`; the octets written."""
    shape, part = train.shape, train.rows[run.first : run.end]
    count, mss = run.end - run.first, int(train.lengths[run.first]) - shape.payload
    last = int(train.lengths[run.end - 1]) - shape.payload
    size = (count - 1) * mss + last
    base = shape.frame
    ip, tcp, head = shape.ip - base, shape.tcp - base, shape.payload - base
    header = bytearray(part[0, base : shape.payload].data)
    header[tcp + 13] |= part[-1, shape.tcp + 13] & _PSH
    upper = head - tcp + size
    addresses = _ip_header(header, shape.version, ip, tcp, upper)
    value = (total(addresses) + _TCP + upper) % MODULUS or MODULUS
    header[tcp + _CHECKSUM : tcp + _CHECKSUM + 2] = value.to_bytes(2, "big")
    kind = vnet.GSO_TCPV4 if shape.version == 4 else vnet.GSO_TCPV6
    start = vnet.SIZE + head
    out[:start] = Offload(vnet.NEEDS_CSUM, kind, head, mss, tcp, _CHECKSUM).encode() + header
    payload = np.frombuffer(out, np.uint8)[start : start + size]
    whole = (count - 1) * mss
    payload[:whole].reshape(count - 1, mss)[:] = part[:-1, shape.payload : shape.payload + mss]
    payload[whole:] = part[-1, shape.payload : shape.payload + last]
    return start + size


def _ip_header(header: bytearray, version: int, ip: int, tcp: int, upper: int) -> bytearray:
    """Length and checksum for `upper` octets behind the IP header; its addresses."""
    if version == 6:
        header[ip + 4 : ip + 6] = (tcp - ip - 40 + upper).to_bytes(2, "big")
        return header[ip + 8 : ip + 40]
    header[ip + 2 : ip + 4] = (tcp - ip + upper).to_bytes(2, "big")
    header[ip + 10 : ip + 12] = b"\0\0"
    header[ip + 10 : ip + 12] = complement(total(header[ip:tcp])).to_bytes(2, "big")
    return header[ip + 12 : ip + 20]
