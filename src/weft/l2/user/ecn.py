"""Congestion marks across the tunnel (RFC 6040; the two low bits of IPv4's TOS and of IPv6's traffic class).

Going in ("normal mode", section 4.1) the outer header takes the inner one's mark. Coming out (section 4.2, figure 4) a
router's Congestion Experienced is brought to the inner header; where the inner sender knows no ECN, it can only be
told by losing the packet. The rest of TOS and the TTL of the inner packet are none of a bridge's business.
"""

from __future__ import annotations

NOT_ECT, ECT_1, ECT_0, CE = range(4)
MASK = 3

_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_TAGS = (b"\x81\x00", b"\x88\xa8")
_DEPTH = 14 + 2 * 4  # where the packet starts behind two tags; deeper nobody looks (IEEE 802.1Q knows two)

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
    """The mark of the IP packet in a frame, VLAN tags or not; NOT_ECT for anything else."""
    kind, ip = _packet(frame)
    return _mark(frame, kind, ip) if kind else NOT_ECT


def arrive(frame: bytearray | memoryview, outer: int) -> bool:
    """Brings the outer mark into a frame that came out of a tunnel, in place; False: it must be dropped."""
    if outer & MASK in (NOT_ECT, ECT_0):  # neither changes an inner packet
        return True
    kind, ip = _packet(frame)
    if not kind:
        return True
    before = _mark(frame, kind, ip)
    after = decapsulate(before, outer)
    if after is None:
        return False
    if after != before:
        _set(frame, kind, ip, after)
    return True


def _packet(frame: bytearray | memoryview) -> tuple[bytes, int]:
    """The ethertype of the IP packet in a frame, and where it starts; no ethertype where there is none."""
    kind, ip = bytes(frame[12:14]), 14
    while kind in _TAGS and ip < _DEPTH:
        kind, ip = bytes(frame[ip + 2 : ip + 4]), ip + 4
    if (kind == _IPV4 and len(frame) >= ip + 20) or (kind == _IPV6 and len(frame) >= ip + 40):
        return kind, ip
    return b"", 0


def _mark(frame: bytearray | memoryview, kind: bytes, ip: int) -> int:
    if kind == _IPV4:
        return frame[ip + 1] & MASK
    return frame[ip + 1] >> 4 & MASK  # traffic class: the low half of byte 0 and the high half of byte 1


def _set(frame: bytearray | memoryview, kind: bytes, ip: int, value: int) -> None:
    if kind == _IPV6:
        frame[ip + 1] = frame[ip + 1] & 0xCF | value << 4
        return
    before = frame[ip] << 8 | frame[ip + 1]
    frame[ip + 1] = frame[ip + 1] & 0xFC | value
    told = frame[ip + 10] << 8 | frame[ip + 11]
    # RFC 1624, equation 3: a header that was damaged on the way stays damaged
    total = (told ^ 0xFFFF) + (before ^ 0xFFFF) + (frame[ip] << 8 | frame[ip + 1])
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    frame[ip + 10 : ip + 12] = (total ^ 0xFFFF).to_bytes(2, "big")
