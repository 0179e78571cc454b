"""IGMP, as far as a capture needs it (RFC 1112, RFC 2236, RFC 3376): the kind, and the groups spoken of."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from weft.wire.address import ip_text, ipv4_bytes
from weft.wire.checksum import checksum
from weft.wire.errors import fits, need

QUERY = 0x11
REPORT_V1 = 0x12
REPORT_V2 = 0x16
LEAVE = 0x17
REPORT_V3 = 0x22


@dataclass(frozen=True, slots=True)
class Igmp:
    """The first 8 bytes; `group` is what they say of one group, and of no use in a version 3 report (see `groups`)."""

    type: int
    code: int
    group: str
    checksum: int = field(default=0, compare=False)

    @property
    def header_length(self) -> int:
        """Bytes before the payload."""
        return 8

    def encode(self, payload: bytes = b"") -> bytes:
        """The message, checksum computed."""
        message = bytes((fits("igmp", 0, "type", self.type, 8), fits("igmp", 1, "code", self.code, 8), 0, 0))
        message += ipv4_bytes(self.group, "igmp", 4) + payload
        return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]

    @classmethod
    def decode(cls, data: bytes) -> tuple[Igmp, bytes]:
        """The header and what follows: sources of a query, records of a version 3 report."""
        need("igmp", data, 8)
        kind, code, found, group = struct.unpack_from("!BBH4s", data)
        return cls(kind, code, ip_text(group), found), data[8:]


def groups(header: Igmp, rest: bytes) -> tuple[str, ...]:
    """The groups a message speaks of; of a damaged version 3 report those before the damage."""
    if header.type == REPORT_V3:
        count = int.from_bytes(ipv4_bytes(header.group, "igmp")[2:], "big")
        return record_groups(rest, count, 4)
    return () if header.group == "0.0.0.0" else (header.group,)


def record_groups(records: bytes, count: int, size: int) -> tuple[str, ...]:
    """The groups of `count` group records (RFC 3376 section 4.2.4, RFC 3810 section 5.2) with `size`-byte addresses."""
    found = []
    at = 0
    for _ in range(count):
        if len(records) - at < 4 + size:
            break
        found.append(ip_text(records[at + 4 : at + 4 + size]))
        sources = int.from_bytes(records[at + 2 : at + 4], "big")
        at += 4 + size + sources * size + records[at + 1] * 4
    return tuple(found)
