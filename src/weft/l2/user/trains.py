"""Frames of devices → what a UDP socket sends, and what it receives → stretches that make one frame each.

Between the two stand `split` and `merge`, which work on a whole train at once. The VTEP and IP tunnels both pass
through here; a `Framing` says what stands before the IP packet in their datagrams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from weft.l2.user import vnet
from weft.l2.user.checksums import Octets
from weft.l2.user.framing import VXLAN, Framing
from weft.l2.user.layout import layout
from weft.l2.user.merge import Run, Train, train
from weft.l2.user.split import finish, split
from weft.l2.user.split_udp import split_udp
from weft.l2.user.vnet import Offload

_SPLIT = {vnet.GSO_TCPV4: split, vnet.GSO_TCPV6: split, vnet.GSO_UDP_L4: split_udp}


class Refused(ValueError):
    """A frame that can't be sent; its text is the reason, as the counters name it."""


class Outgoing(NamedTuple):
    """One frame behind its encapsulation, or a `train`: whole datagrams of `size` octets, the last maybe shorter."""

    frame: memoryview
    train: memoryview | None
    size: int


def outgoing(frame: memoryview, offload: Offload, front: bytes, framing: Framing = VXLAN) -> Iterable[Outgoing]:
    """What to send for one frame of a device, however many packets it stands for. Raises Refused.

    `front`: the encapsulation. Checksums are finished, in place where the frame is sent as it is.
    """
    cut = _SPLIT.get(offload.gso & ~vnet.GSO_ECN)
    if cut is not None:
        made = cut(frame, offload, front, framing)
        if made is None:
            raise Refused("offload header")
        return (Outgoing(frame, made.data.data, made.size),)
    if offload.gso != vnet.GSO_NONE:
        raise Refused("offload not known")
    if offload.flags & vnet.NEEDS_CSUM and not finish(frame, offload, framing):
        raise Refused("offload header")
    return (Outgoing(frame, None, len(front) + len(frame)),)


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
    if shape is not None:
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
