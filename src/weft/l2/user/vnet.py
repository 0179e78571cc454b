"""The offload header before every frame of a TAP or packet socket: struct virtio_net_hdr (uapi/linux/virtio_net.h).

    u8 flags; u8 gso_type; u16 hdr_len; u16 gso_size; u16 csum_start; u16 csum_offset;     the machine's byte order

With NEEDS_CSUM the checksum at csum_start + csum_offset holds the pseudo header's sum only, and whoever puts the frame
on a wire finishes it. With a gso_type the frame stands for many packets of gso_size payload octets each.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

SIZE = 10
NEEDS_CSUM, DATA_VALID = 1, 2
GSO_NONE, GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4 = 0, 1, 3, 4, 5
GSO_ECN = 0x80
_HEADER = struct.Struct("=BBHHHH")


class Offload(NamedTuple):
    flags: int = 0
    gso: int = GSO_NONE
    header: int = 0
    size: int = 0
    start: int = 0
    offset: int = 0

    def encode(self) -> bytes:
        return _HEADER.pack(*self)


def decode(data: bytes | bytearray | memoryview) -> Offload:
    return Offload._make(_HEADER.unpack_from(data))


PLAIN = Offload().encode()
