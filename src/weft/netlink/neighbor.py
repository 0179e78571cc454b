"""The bulk codec: neighbor and FDB rows ↔ RTM_NEWNEIGH messages, thousands at once, as one array of octets.

    struct ndmsg { u8 family; u8 pad; u16 pad; i32 ifindex; u16 state; u8 flags; u8 type; }   uapi/linux/neighbour.h

Rows of one family make messages of one length, so a table becomes a matrix: a template row, and columns written over
it. A dump is read the other way round: runs of messages of one shape (same length, same attributes) are found by
comparing columns, and each run gives its columns at once. Nothing here touches a socket.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weft.netlink import message as m
from weft.plan.tables import Rows

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTNLGRP_NEIGH = 3
NUD_REACHABLE, NUD_STALE, NUD_NOARP, NUD_PERMANENT = 0x02, 0x04, 0x40, 0x80
NTF_SELF, NTF_MASTER = 0x02, 0x04
AF_BRIDGE = 7
NDMSG = struct.Struct("=BxxxiHBB")
NDA_DST, NDA_LLADDR, NDA_PORT, NDA_VNI, NDA_IFINDEX, NDA_MASTER = 1, 2, 6, 7, 8, 9

Octets = npt.NDArray[np.uint8]
_MAPPED = 0xFFFF << 32

# One decoded message: `odd` says that it carries a port, VNI or device of its own.
ROW = np.dtype(
    [
        ("ifindex", "i4"),
        ("state", "u2"),
        ("flags", "u1"),
        ("family", "u1"),
        ("odd", "?"),
        ("mac", "u8"),
        ("ip_high", "u8"),
        ("ip_low", "u8"),
    ]
)


def is_ipv4(high: npt.NDArray[Any], low: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which addresses are IPv4, in their mapped form (weft.model.address)."""
    result: npt.NDArray[np.bool_] = (high == 0) & (low >> np.uint64(32) == 0xFFFF)
    return result


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns of a table stand where. `bridge`: rows of AF_BRIDGE; `destination` False: the MAC alone is told."""

    ip: tuple[str, str]
    mac: str | None
    bridge: bool
    destination: bool = True


FDB = Layout(("vtep_high", "vtep_low"), "mac", bridge=True)
FDB_KEY = Layout(("vtep_high", "vtep_low"), "mac", bridge=True, destination=False)
FLOOD = Layout(("vtep_high", "vtep_low"), None, bridge=True)  # of the all-zeros MAC
NEIGHBOR = Layout(("ip_high", "ip_low"), "mac", bridge=False)
NEIGHBOR_KEY = Layout(("ip_high", "ip_low"), None, bridge=False)


@dataclass(frozen=True, slots=True)
class Form:
    """What all messages of one batch share: `create` (NLM_F_…) 0 means that the rows are deleted."""

    layout: Layout
    ifindex: int
    create: int = 0
    state: int = 0
    ntf: int = 0


def encode(rows: Rows, form: Form) -> Iterator[tuple[npt.NDArray[np.intp], Octets]]:
    """(indices into `rows`, matrix of messages) for each address family that is there; sequence numbers are 0."""
    layout = form.layout
    kind = RTM_NEWNEIGH if form.create else RTM_DELNEIGH
    four = is_ipv4(rows[layout.ip[0]], rows[layout.ip[1]])
    for chosen, family, size in ((four, socket.AF_INET, 4), (~four, socket.AF_INET6, 16)):
        where = np.flatnonzero(chosen)
        if not len(where):
            continue
        body = NDMSG.pack(AF_BRIDGE if layout.bridge else family, form.ifindex, form.state, form.ntf, 0)
        body += m.attribute(NDA_DST, bytes(size)) if layout.destination else b""
        mac_at = 16 + len(body) + 4
        body += m.attribute(NDA_LLADDR, bytes(6)) if layout.bridge or layout.mac else b""
        template = m.message(kind, form.create | m.NLM_F_REQUEST, 0, body)
        matrix = np.tile(np.frombuffer(template, np.uint8), (len(where), 1))
        part = rows[where]
        if layout.destination:
            matrix[:, 32 : 32 + size] = address(part, layout.ip, size)
        if layout.mac:
            matrix[:, mac_at : mac_at + 6] = part[layout.mac].astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
        yield where, matrix


def address(rows: Rows, ip: tuple[str, str], size: int) -> Octets:
    low = rows[ip[1]].astype(">u8").view(np.uint8).reshape(-1, 8)
    if size == 4:
        return low[:, 4:]
    return np.concatenate((rows[ip[0]].astype(">u8").view(np.uint8).reshape(-1, 8), low), axis=1)


def number(matrix: Octets, first: int) -> None:
    """Writes sequence numbers from `first` on into messages."""
    matrix[:, 8:12] = np.arange(first, first + len(matrix), dtype=np.uint32).view(np.uint8).reshape(-1, 4)


def decode(octets: bytes) -> Rows:
    """All RTM_NEWNEIGH messages in `octets`, whole datagrams one after another, as rows of dtype `ROW`."""
    parts = [_columns(block, shape) for block, shape in blocks(octets, RTM_NEWNEIGH)]
    return np.concatenate(parts) if parts else np.empty(0, ROW)


Shape = dict[int, tuple[int, int]]


def blocks(octets: bytes, wanted: int) -> Iterator[tuple[npt.NDArray[np.uint32], Shape]]:
    """Runs of messages of the type `wanted` and one shape, as matrices of words; the family header has 12 octets."""
    words = np.frombuffer(octets, np.uint32, len(octets) // 4)
    offset = 0
    while offset + 16 <= len(octets):
        size, kind = struct.unpack_from("=IH", octets, offset)
        if size < 16:
            return
        step = (size + 3) & ~3
        if kind != wanted:
            offset += step
            continue
        shape = _shape(octets, offset, size)
        count = _run(words, offset // 4, step // 4, shape)
        yield words[offset // 4 : offset // 4 + count * (step // 4)].reshape(count, -1), shape
        offset += step * count


def _shape(octets: bytes, start: int, size: int) -> Shape:
    """Attribute type → (offset in the message, length of its value) of the message at `start`."""
    shape: Shape = {}
    offset = 28
    while offset + 4 <= size:
        length, kind = struct.unpack_from("=HH", octets, start + offset)
        if length < 4:
            break
        shape[kind & 0x3FFF] = (offset + 4, length - 4)
        offset += (length + 3) & ~3
    return shape


def _run(words: npt.NDArray[np.uint32], start: int, step: int, shape: Shape) -> int:
    """How many messages from word `start` on have the first one's length, type and attributes."""
    same = [0, *((offset - 4) // 4 for offset, _ in shape.values())]  # the length, and every attribute's header
    first = words[start : start + step]
    kind = first[1] & 0xFFFF
    count, window = 1, 16
    while True:
        limit = (len(words) - start) // step
        block = words[start + count * step : start + min(count + window, limit) * step].reshape(-1, step)
        if not len(block):
            return count
        good = (block[:, same] == first[same]).all(axis=1) & (block[:, 1] & 0xFFFF == kind)
        if not good.all():
            return count + int(np.argmin(good))
        count += len(block)
        window *= 2  # runs are short or very long: look ever further ahead


def _columns(block: npt.NDArray[np.uint32], shape: Shape) -> Rows:
    octets = block.view(np.uint8)
    rows = np.zeros(len(block), ROW)
    rows["family"] = octets[:, 16]
    rows["ifindex"] = block[:, 5].view(np.int32)
    rows["state"] = block[:, 6] & 0xFFFF if _LITTLE else block[:, 6] >> 16
    rows["flags"] = octets[:, 26]
    rows["odd"] = bool(shape.keys() & {NDA_PORT, NDA_VNI, NDA_IFINDEX})
    if (at := shape.get(NDA_LLADDR)) and at[1] == 6:
        rows["mac"] = big(octets[:, at[0] : at[0] + 6])
    if at := shape.get(NDA_DST):
        if at[1] == 4:
            rows["ip_low"] = big(octets[:, at[0] : at[0] + 4]) | np.uint64(_MAPPED)
        elif at[1] == 16:
            rows["ip_high"] = big(octets[:, at[0] : at[0] + 8])
            rows["ip_low"] = big(octets[:, at[0] + 8 : at[0] + 16])
    return rows


_LITTLE = struct.pack("=H", 1) == b"\1\0"


def big(octets: Octets) -> npt.NDArray[np.uint64]:
    """Up to eight octets in network order, as a number each."""
    wide = np.zeros((len(octets), 8), np.uint8)
    wide[:, 8 - octets.shape[1] :] = octets
    return wide.view(">u8").ravel().astype(np.uint64)
