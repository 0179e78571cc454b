"""Is a train one stretch of one TCP stream from end to end? The common case, answered in a third of the passes.

All numbers of all headers come out of one matrix product: a field of a header is a weighted sum of its 16-bit words,
and so is a checksum. Products and sums stay far below 2**53, up to which 64-bit floating-point numbers are whole.
`weft.l2.user.merge` says what is compared and why; what is no such train is left to it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from weft.l2.user.checksums import MODULUS, Numbers, Octets, complement, total
from weft.l2.user.layout import Layout

_ACK, _PSH, _TCP = 0x10, 0x08, 6
_INDEX = np.arange(1024, dtype=np.int64)

Words = npt.NDArray[np.uint16]


class Fields(NamedTuple):
    """`weights`: a row for each of sequence number, checksum, sum of the IP header, sum of TCP's. `alike`: the bits of
    each word in which all headers but the last one agree; `last`: those in which the last one agrees with the first."""

    weights: npt.NDArray[np.float64]
    alike: Words
    last: Words


@lru_cache(maxsize=64)
def _fields(shape: Layout) -> Fields:
    words, ip, tcp = shape.payload // 2, shape.ip // 2, shape.tcp // 2
    weights = np.zeros((4, words))
    weights[0, tcp + 2 : tcp + 4] = 65536, 1
    weights[1, tcp + 8] = 1
    weights[2, ip:tcp] = shape.version == 4
    weights[3, tcp:] = 1
    alike = np.full(words, 0xFFFF, np.uint16)
    alike[[tcp + 2, tcp + 3, tcp + 8]] = 0
    if shape.version == 4:
        alike[[ip + 2, ip + 5]] = 0  # identification, checksum
    last = alike.copy()
    last[ip + (1 if shape.version == 4 else 2)] = 0  # length
    last[tcp + 6] ^= _PSH
    return Fields(weights, alike, last)


def whole(rows: Octets, lengths: Numbers, shape: Layout) -> Numbers | None:
    """The sums of the segments' payloads, as their checksums claim; None: not one finished stretch, or not sure."""
    count, version = len(rows), shape.version
    if not 2 <= count <= len(_INDEX) or (shape.payload | shape.ip) & 1:
        return None
    if version == 4 and not rows[0, shape.ip + 6] & 0x40:
        return None
    weights, alike, last = _fields(shape)
    words = rows[:, : shape.payload].view(">u2").astype(np.uint16)
    same = (words[:-1] & alike).tobytes()
    if same != same[: 2 * len(alike)] * (count - 1) or np.count_nonzero((words[0] ^ words[-1]) & last):
        return None
    size, short = int(lengths[0]), int(lengths[-1])
    place, before = (shape.ip + 2, shape.ip) if version == 4 else (shape.ip + 4, shape.ip + 40)
    stated = [int(words[row, place // 2]) + before for row in (0, -1)]
    if stated != [size, short] or rows[0, shape.tcp + 13] != _ACK or short <= shape.payload:
        return None
    sequence, stands, ip_sums, tcp_sums = (weights @ words.astype(np.float64).T).astype(np.int64)
    ahead = sequence - _INDEX[:count] * (size - shape.payload)
    if np.count_nonzero((ahead - ahead[0]) & 0xFFFFFFFF) or np.count_nonzero(ip_sums % MODULUS):
        return None
    start, end = (shape.ip + 12, shape.ip + 20) if version == 4 else (shape.ip + 8, shape.ip + 40)
    pseudo = total(rows[0, start:end].data) % MODULUS + _TCP + size - shape.tcp
    tcp_sums += pseudo
    tcp_sums[-1] += short - size
    unfinished = np.count_nonzero(stands == (pseudo % MODULUS or MODULUS))
    if unfinished or (int(stands[-1]) - pseudo - short + size) % MODULUS == 0:
        return None
    return complement(tcp_sums)  # type: ignore[no-any-return]
