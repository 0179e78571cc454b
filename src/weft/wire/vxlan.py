"""VXLAN headers (RFC 7348 section 5): flags, 24-bit VNI, everything else zero on send and ignored on receive."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft.wire.errors import WireError, fits, need

PORT = 4789
FLANNEL_PORT = 8472
VALID_VNI = 0x08


@dataclass(frozen=True, slots=True)
class Vxlan:
    """A VXLAN header; `flags` and `reserved` (24 bits, then 8) are what was read; only VALID_VNI counts."""

    vni: int
    flags: int = field(default=VALID_VNI, compare=False)
    reserved: int = field(default=0, compare=False)

    @property
    def header_length(self) -> int:
        """Bytes before the inner frame."""
        return 8

    def encode(self, frame: bytes = b"") -> bytes:
        """The header, always with exactly the flag of a valid VNI, and the inner frame."""
        return bytes((VALID_VNI, 0, 0, 0)) + fits("vxlan", 4, "VNI", self.vni, 24).to_bytes(3, "big") + b"\0" + frame

    @classmethod
    def decode(cls, data: bytes) -> tuple[Vxlan, bytes]:
        """The header and the inner frame; without the flag of a valid VNI it is a WireError."""
        need("vxlan", data, 8)
        if not data[0] & VALID_VNI:
            raise WireError("vxlan", 0, f"flags {data[0]:#04x} lack 0x08, so the VNI is not valid")
        reserved = int.from_bytes(data[1:4], "big") << 8 | data[7]
        return cls(int.from_bytes(data[4:7], "big"), data[0], reserved), data[8:]
