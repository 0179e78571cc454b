"""Frames of devices → what a UDP socket sends, and what it receives → stretches that make one frame each.

Between the two stand `split` and `merge`, which work on a whole train at once. The VTEP and IP tunnels both pass
through here; a `Framing` says what stands before the IP packet in their datagrams.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from weft.l2.user import vnet
from weft.l2.user.checksums import Octets
from weft.l2.user.framing import VXLAN, Framing
from weft.l2.user.rx.layout import layout
from weft.l2.user.rx.merge import Run, Train, train
from weft.l2.user.tx.split import Shape, finish, shape_of
from weft.l2.user.tx.split import Train as Cut
from weft.l2.user.tx.split_udp import split_udp
from weft.l2.user.vnet import Offload

_TCP = (vnet.GSO_TCPV4, vnet.GSO_TCPV6)


class Refused(ValueError):
    """A frame that can't be sent; its text is the reason, as the counters name it."""


def big(offload: Offload) -> bool:
    """Whether a frame stands for many TCP segments."""
    return offload.gso & ~vnet.GSO_ECN in _TCP


def shaped(frame: memoryview, offload: Offload, front: bytes, framing: Framing = VXLAN) -> Shape:
    """The shape of a `big` frame. Raises Refused."""
    shape = shape_of(frame, offload, len(front), framing)
    if shape is None:
        raise Refused("offload header")
    return shape


def finished(frame: memoryview, offload: Offload, front: bytes, framing: Framing = VXLAN) -> Cut | None:
    """What to send for a frame that is not `big`: a train where it stands for many UDP datagrams; None: itself behind
    the encapsulation `front`, its checksum finished in place. Raises Refused.
    """
    if offload.gso == vnet.GSO_UDP_L4:
        made = split_udp(frame, offload, front, framing)
        if made is None:
            raise Refused("offload header")
        return made
    if offload.gso != vnet.GSO_NONE:
        raise Refused("offload not known")
    if offload.flags & vnet.NEEDS_CSUM and not finish(frame, offload, framing):
        raise Refused("offload header")
    return None


class Incoming(NamedTuple):
    """`size` octets from `at`: one datagram; or, with a `run` of a `train`, the first of those that make one frame."""

    at: int
    size: int
    train: Train | None = None
    run: Run | None = None


def incoming(buffer: Octets, octets: int, size: int, framing: Framing = VXLAN) -> Iterator[Incoming]:
    """What came at once, in order: `octets` at the front of `buffer`, in datagrams of `size`, the last maybe shorter.

    The buffer has room for the last one to be seen as long as the others.
    """
    if octets <= size:
        yield Incoming(0, octets)
        return
    count, whole = -(-octets // size), 0
    shape = layout(buffer[:size].data, framing)
    if shape is not None and shape.payload < size:  # what carries nothing is not merged
        whole = count - (octets - (count - 1) * size <= shape.payload)  # a last one too short is not of this kind
        rows = buffer[: whole * size].reshape(whole, size)
        lengths = np.full(whole, size, np.int64)
        lengths[-1] = min(size, octets - (whole - 1) * size)
        found = train(rows, lengths, shape)
        for run in found.runs:
            if run.end - run.first == 1:
                yield Incoming(run.first * size, int(lengths[run.first]))
            else:
                yield Incoming(run.first * size, size, found, run)
    for index in range(whole, count):
        yield Incoming(index * size, min(size, octets - index * size))
