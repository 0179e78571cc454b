"""Where the headers of a datagram with TCP in it stand."""

from __future__ import annotations

from dataclasses import dataclass

from weft.l2.user.framing import VXLAN, Framing

_TCP = 6
_KIND = {4: b"\x08\x00", 6: b"\x86\xdd"}  # IP version → ethertype


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in a datagram: the inner frame, IP header, TCP header, payload."""

    version: int
    frame: int
    ip: int
    tcp: int
    payload: int


def layout(datagram: bytes | bytearray | memoryview, framing: Framing = VXLAN) -> Layout | None:
    """Of a datagram with TCP in it, without VLAN tag, extension headers or fragments; None for any other."""
    ip = framing.ip
    if len(datagram) < ip + 40:
        return None
    first = datagram[ip]
    kind = bytes(datagram[ip - 2 : ip]) if framing.link else _KIND.get(first >> 4, b"")
    if (
        kind == _KIND[4]
        and first == 0x45
        and datagram[ip + 9] == _TCP
        and not (datagram[ip + 6] & 0x3F or datagram[ip + 7])
    ):
        version, tcp = 4, ip + 20
    elif kind == _KIND[6] and first >> 4 == 6 and datagram[ip + 6] == _TCP and len(datagram) >= ip + 60:
        version, tcp = 6, ip + 40
    else:
        return None
    payload = tcp + (datagram[tcp + 12] >> 4) * 4
    return Layout(version, framing.front, ip, tcp, payload) if tcp + 20 <= payload <= len(datagram) else None
