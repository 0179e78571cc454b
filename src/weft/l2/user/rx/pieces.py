"""A frame on its way to a device, in pieces: none of them has to be moved for the others' sake."""

from __future__ import annotations

from typing import NamedTuple

from weft.l2.user import vnet


class Pieces(NamedTuple):
    """A frame of `octets`, which stands for so many `datagrams`. `header`: its beginning, with all headers; all of it
    where `payload` is empty."""

    offload: bytes
    header: bytearray | memoryview
    payload: list[memoryview]
    octets: int
    datagrams: int


def one(packet: memoryview, count: int) -> Pieces:
    """Of an offload header with the frame behind it."""
    return Pieces(bytes(packet[: vnet.SIZE]), packet[vnet.SIZE :], [], len(packet) - vnet.SIZE, count)
