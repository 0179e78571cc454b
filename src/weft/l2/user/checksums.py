"""Internet checksums of many packets at once (RFC 1071), as numpy arrays.

All sums are numbers modulo 65535, in which 2**16 is 1: so a 16- or 32-bit field of a header counts as the number it is,
a piece of an even number of octets as one big-endian number, and folding carries is taking the remainder. Swapping the
octets of a word is multiplying by 256 (RFC 1071 section 2 B), which lets words be added in the machine's own order.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

Octets = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]
MODULUS = 0xFFFF
_MODULUS = np.uint64(MODULUS)
_NATIVE = 256 if sys.byteorder == "little" else 1


def sums(rows: Octets) -> Numbers:
    """The sum of every row (the last axis); rows of an even number of octets, at most 128 KiB."""
    added: npt.NDArray[np.uint32] = np.add.reduce(rows.view(np.uint16), axis=-1, dtype=np.uint32)
    return added.astype(np.int64) * _NATIVE


def words(rows: Octets) -> npt.NDArray[Any]:
    """Rows of an even number of octets in a row, as the largest words that are summed without losing any."""
    return rows.view(np.uint16 if rows.shape[-1] % 4 else np.uint32)


def remainders(rows: npt.NDArray[Any]) -> list[int]:
    """The sum of every row of `words`, in the machine's order (`native`), less than MODULUS."""
    added: npt.NDArray[np.uint64] = np.add.reduce(rows, axis=-1, dtype=np.uint64)
    found: list[int] = np.remainder(added, _MODULUS, out=added).tolist()
    return found


def native(value: int) -> int:
    """A sum as `remainders` tells it."""
    return value * _NATIVE % MODULUS


def total(data: bytes | bytearray | memoryview) -> int:
    """The sum of one short piece of an even number of octets."""
    return int.from_bytes(data, "big")


def complement(value: Any) -> Any:
    """The checksum for a sum, of numbers and arrays alike: what makes it 0. The sum must not be of zeros only."""
    return -value % MODULUS


def column(rows: Octets, at: int, size: int) -> np.ndarray:
    """One big-endian number of every row, `size` octets from `at`: a view, to read and to write."""
    return np.ndarray((len(rows),), f">u{size}", rows.data, at, (rows.strides[0],))
