"""Do the segments of a train belong to one TCP stream? The common case, answered in a third of the passes.

All headers must be those of the first datagram but for what counts up, and for what a sender changes from one write to
the next: acknowledgement, window, options and PSH. Where these change, or numbers do not count on, a stretch ends.
`weft.l2.user.merge` says what is compared and why; what is no such train is left to it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from weft.l2.user.checksums import MODULUS, Numbers, Octets, column, complement, few, total
from weft.l2.user.layout import Layout

_ACK, _PSH, _TCP = 0x10, 0x08, 6
_MOST = 1024
_INDEX = np.arange(_MOST, dtype=np.int64)

Words = npt.NDArray[np.uint16]


class Masks(NamedTuple):
    """By word of the headers, in the machine's order: the bits that all datagrams have in common (`last`: those that
    the last one has in common with them), and those that may change where a stretch ends."""

    alike: Words
    last: Words
    breaks: Words


@lru_cache(maxsize=64)
def _masks(shape: Layout) -> Masks:
    ip, tcp = shape.ip, shape.tcp
    alike, breaks = np.full((2, shape.payload), 0xFF, np.uint8)
    alike[tcp + 4 : tcp + 12] = 0  # sequence number, acknowledgement
    alike[tcp + 13] ^= _PSH
    alike[tcp + 14 :] = 0  # window, checksum, options
    if shape.version == 4:
        alike[ip + 4 : ip + 6] = 0  # identification
        alike[ip + 10 : ip + 12] = 0
    breaks[: tcp + 8] = 0
    breaks[tcp + 12 : tcp + 14] = 0
    breaks[tcp + 16 : tcp + 18] = 0
    last = alike.copy()
    at = ip + (2 if shape.version == 4 else 4)
    last[at : at + 2] = 0  # length
    return Masks(alike.view(np.uint16), last.view(np.uint16), breaks.view(np.uint16))


def whole(rows: Octets, lengths: Numbers, shape: Layout) -> tuple[Numbers, list[int]] | None:
    """The sums of the segments' payloads, as their checksums claim, and where stretches begin and end.

    None: not one finished stream, or not sure.
    """
    count, ip, tcp = len(rows), shape.ip, shape.tcp
    if not 2 <= count <= _MOST or (shape.payload | ip) & 1:
        return None
    if shape.version == 4 and not rows[0, ip + 6] & 0x40:
        return None
    size, short = int(lengths[0]), int(lengths[-1])
    heads = np.ascontiguousarray(rows[:, : shape.payload])
    if not _stated(heads, size, short, shape):
        return None
    masks, words = _masks(shape), heads.view(np.uint16)
    changes = words[1:] ^ words[:-1]
    if np.count_nonzero(changes[:-1] & masks.alike) or np.count_nonzero(changes[-1] & masks.last):
        return None
    if shape.version == 4 and not _sound(heads, words, shape):
        return None
    start, end = (ip + 12, ip + 20) if shape.version == 4 else (ip + 8, ip + 40)
    pseudo = total(heads[0, start:end].data) % MODULUS + _TCP + size - tcp
    stands = column(heads, tcp + 16, 2)
    if np.count_nonzero(stands == (pseudo % MODULUS or MODULUS)):
        return None  # unfinished
    if (int(stands[-1]) - pseudo - short + size) % MODULUS == 0:
        return None
    claimed = few(words[:, tcp // 2 :]) + pseudo
    claimed[-1] += short - size
    return complement(claimed), _edges(heads, changes & masks.breaks, size, shape)


def _stated(heads: Octets, size: int, short: int, shape: Layout) -> bool:
    """Whether the first and the last datagram say how long they are, carry something, and have no message but ACK."""
    at, before = (shape.ip + 2, shape.ip) if shape.version == 4 else (shape.ip + 4, shape.ip + 40)
    stated = [int(heads[row, at]) << 8 | int(heads[row, at + 1]) for row in (0, -1)]
    flags = int(heads[0, shape.tcp + 13])
    return stated == [size - before, short - before] and flags | _PSH == _ACK | _PSH and short > shape.payload


def _sound(heads: Octets, words: Words, shape: Layout) -> bool:
    """Whether all IPv4 headers sum up to zero, where they differ in nothing but identification, checksum and the last
    one's length."""
    ip, tcp = shape.ip, shape.tcp
    if total(heads[0, ip:tcp].data) % MODULUS or total(heads[-1, ip:tcp].data) % MODULUS:
        return False
    both = np.add(words[:-1, ip // 2 + 2], words[:-1, ip // 2 + 5], dtype=np.int64)
    return not np.count_nonzero((both - both[0]) % MODULUS)


def _edges(heads: Octets, breaks: Words, size: int, shape: Layout) -> list[int]:
    """The first datagram of every stretch, and the end."""
    count = len(heads)
    ahead = column(heads, shape.tcp + 4, 4) - _INDEX[:count] * (size - shape.payload)
    ends = ((ahead[1:] - ahead[:-1]) & 0xFFFFFFFF) != 0
    ends |= (heads[:-1, shape.tcp + 13] & _PSH) != 0
    changed = (breaks != 0).ravel().nonzero()[0] // breaks.shape[1]
    return sorted({0, *(ends.nonzero()[0] + 1).tolist(), *(changed + 1).tolist(), count})
