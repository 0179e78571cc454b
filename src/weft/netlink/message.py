"""Netlink messages as octets: the header, attributes (TLVs) nested to any depth, and their way back.

    struct nlmsghdr { u32 len; u16 type; u16 flags; u32 seq; u32 pid; }      include/uapi/linux/netlink.h
    struct nlattr   { u16 len; u16 type; }                                   padded to 4 octets

Everything is the machine's byte order, except where a comment says otherwise. This is all there is to netlink's
framing; the layers above name the types they use. It is our own and not pyroute2's because pyroute2's sockets run an
event loop of their own, which refuses to start inside the agent's (see docs/decisions), and because a link must be
decoded in microseconds where a node has thousands.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK = 0x1, 0x2, 0x4
NLM_F_ROOT, NLM_F_MATCH, NLM_F_DUMP = 0x100, 0x200, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP_INTR = 0x10

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
NLA_F_NESTED = 0x8000
_TYPE = 0x3FFF

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")

Attributes = dict[int, bytes]


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + _PAD[size & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=B", value))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def be16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">H", value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def parse(octets: bytes, offset: int = 0) -> Attributes:
    """Attributes from `offset` to the end, by type; of several of one type the last stays."""
    found: Attributes = {}
    end = len(octets)
    while offset + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(octets, offset)
        if size < 4:
            break
        found[kind & _TYPE] = octets[offset + 4 : offset + size]
        offset += (size + 3) & ~3
    return found


def parse_list(octets: bytes) -> list[bytes]:
    """The values of a nested list, in order (NFTA_LIST_ELEM and the like)."""
    found: list[bytes] = []
    offset, end = 0, len(octets)
    while offset + 4 <= end:
        size, _ = _ATTRIBUTE.unpack_from(octets, offset)
        if size < 4:
            break
        found.append(octets[offset + 4 : offset + size])
        offset += (size + 3) & ~3
    return found


def to_int(value: bytes | None, default: int = 0) -> int:
    """An unsigned integer of any width, in the machine's byte order."""
    return default if value is None else int.from_bytes(value, "little" if _LITTLE else "big")


def to_text(value: bytes | None) -> str:
    return "" if value is None else value.rstrip(b"\0").decode(errors="replace")


_LITTLE = struct.pack("=H", 1) == b"\1\0"


def messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, body) of every message in one datagram."""
    offset, end = 0, len(datagram)
    while offset + 16 <= end:
        size, kind, flags, sequence, _ = HEADER.unpack_from(datagram, offset)
        if size < 16:
            break
        yield kind, flags, sequence, datagram[offset + 16 : offset + size]
        offset += (size + 3) & ~3


def notifications(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, port id of whose request caused it, body) of every message; 0: the kernel by itself, or it did not say."""
    offset, end = 0, len(datagram)
    while offset + 16 <= end:
        size, kind, _, _, port = HEADER.unpack_from(datagram, offset)
        if size < 16:
            break
        yield kind, port, datagram[offset + 16 : offset + size]
        offset += (size + 3) & ~3
