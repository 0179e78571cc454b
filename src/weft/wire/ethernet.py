"""Ethernet II frames with 802.1Q and 802.1ad tags.

IEEE 802.3 section 3.2 and 802.1Q section 9. No frame check sequence: neither sockets nor captures show it. An
ethertype below 0x600 is an 802.3 length; it is carried as it stands.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from weft.wire.address import mac_bytes, mac_text
from weft.wire.errors import WireError, fits, need

IPV4 = 0x0800
ARP = 0x0806
IPV6 = 0x86DD
VLAN = 0x8100
SERVICE_VLAN = 0x88A8
_TAGS = (VLAN, SERVICE_VLAN)


@dataclass(frozen=True, slots=True)
class Tag:
    """One VLAN tag: `vid` 0–4095, priority `pcp` 0–7, drop eligible `dei`, and the tag's own ethertype `tpid`."""

    vid: int
    pcp: int = 0
    dei: bool = False
    tpid: int = VLAN


@dataclass(frozen=True, slots=True)
class Ethernet:
    """An Ethernet header; `tags` from the outermost in, `ethertype` that of the payload behind them."""

    dst: str
    src: str
    ethertype: int
    tags: tuple[Tag, ...] = ()

    @property
    def header_length(self) -> int:
        """Bytes before the payload."""
        return 14 + 4 * len(self.tags)

    @property
    def vid(self) -> int | None:
        """The outermost VLAN id, or None for an untagged frame."""
        return self.tags[0].vid if self.tags else None

    def encode(self, payload: bytes = b"") -> bytes:
        """The frame; no padding to the 60 bytes of a cable, which is the driver's."""
        parts = [mac_bytes(self.dst), mac_bytes(self.src, offset=6)]
        for index, tag in enumerate(self.tags):
            at = 12 + 4 * index
            if tag.tpid not in _TAGS:
                raise WireError("ethernet", at, f"tag type {tag.tpid:#06x} is neither 802.1Q nor 802.1ad")
            word = fits("ethernet", at + 2, "priority", tag.pcp, 3) << 13 | tag.dei << 12
            word |= fits("ethernet", at + 2, "VLAN id", tag.vid, 12)
            parts.append(struct.pack("!HH", tag.tpid, word))
        if self.ethertype in _TAGS:
            raise WireError("ethernet", self.header_length - 2, "a tag stands in the ethertype; put it into tags")
        parts.append(fits("ethernet", self.header_length - 2, "ethertype", self.ethertype, 16).to_bytes(2, "big"))
        return b"".join((*parts, payload))

    @classmethod
    def decode(cls, data: bytes) -> tuple[Ethernet, bytes]:
        """The header and everything behind it, padding included."""
        need("ethernet", data, 14)
        ethertype = int.from_bytes(data[12:14], "big")
        tags: list[Tag] = []
        at = 14
        while ethertype in _TAGS:
            need("ethernet", data, 4, at)
            word, following = struct.unpack_from("!HH", data, at)
            tags.append(Tag(word & 0xFFF, word >> 13, bool(word & 0x1000), ethertype))
            ethertype = following
            at += 4
        return cls(mac_text(data[:6]), mac_text(data[6:12]), ethertype, tuple(tags)), data[at:]
