"""Congestion marks across the tunnel (RFC 6040; the two low bits of IPv4's TOS and of IPv6's traffic class).

Going in ("normal mode", section 4.1) the outer header takes the inner one's mark. Coming out (section 4.2, figure 4) a
router's Congestion Experienced is brought to the inner header; where the inner sender knows no ECN, it can only be
told by losing the packet. The rest of TOS and the TTL of the inner packet are none of a bridge's business.
"""

from __future__ import annotations

from weft.wire.checksum import checksum

NOT_ECT, ECT_1, ECT_0, CE = range(4)
MASK = 3

_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"

# [inner][outer] → inner, None: drop
_OUT: tuple[tuple[int | None, ...], ...] = (
    (NOT_ECT, NOT_ECT, NOT_ECT, None),
    (ECT_1, ECT_1, ECT_1, CE),
    (ECT_0, ECT_1, ECT_0, CE),
    (CE, CE, CE, CE),
)


def decapsulate(inner: int, outer: int) -> int | None:
    """The inner mark after the tunnel; None: the packet must be dropped."""
    return _OUT[inner & MASK][outer & MASK]


def mark(frame: bytearray | memoryview) -> int:
    """The mark of the IP packet in an untagged frame; NOT_ECT for anything else."""
    kind = bytes(frame[12:14])
    if kind == _IPV4 and len(frame) >= 34:
        return frame[15] & MASK
    if kind == _IPV6 and len(frame) >= 54:
        return frame[15] >> 4 & MASK  # traffic class: the low half of byte 0 and the high half of byte 1
    return NOT_ECT


def arrive(frame: bytearray | memoryview, outer: int) -> bool:
    """Brings the outer mark into a frame that came out of a tunnel, in place; False: it must be dropped."""
    if outer & MASK in (NOT_ECT, ECT_0):  # neither changes an inner packet
        return True
    kind = bytes(frame[12:14])
    if kind not in (_IPV4, _IPV6) or len(frame) < 34:
        return True
    before = mark(frame)
    after = decapsulate(before, outer)
    if after is None:
        return False
    if after != before:
        _set(frame, kind, after)
    return True


def _set(frame: bytearray | memoryview, kind: bytes, value: int) -> None:
    if kind == _IPV6:
        frame[15] = frame[15] & 0xCF | value << 4
        return
    frame[15] = frame[15] & 0xFC | value
    end = 14 + (frame[14] & 15) * 4
    frame[24:26] = b"\0\0"
    frame[24:26] = checksum(bytes(frame[14:end])).to_bytes(2, "big")
