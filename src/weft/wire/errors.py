"""The one error of `weft.wire`, and the two checks every codec makes.

Codecs are strict on what they build and total on what they read: any bytes give a value or a `WireError`, and so does
a value that does not fit its field. An error names the protocol, the byte and what is wrong there.
"""

from __future__ import annotations


class WireError(Exception):
    """Bytes that are not the protocol they should be, or a value that has no place on the wire.

    `protocol` is the codec's name ("ipv4"), `offset` counts bytes from the start of what that codec was given, `what`
    is one sentence without a full stop.
    """

    def __init__(self, protocol: str, offset: int, what: str) -> None:
        super().__init__(protocol, offset, what)
        self.protocol = protocol
        self.offset = offset
        self.what = what

    def __str__(self) -> str:
        return f"{self.protocol} at byte {self.offset}: {self.what}"

    def moved(self, base: int) -> WireError:
        """The same error, its offset counted from `base` bytes earlier: the start of the whole frame."""
        return WireError(self.protocol, self.offset + base, self.what)


def need(protocol: str, data: bytes, size: int, offset: int = 0) -> None:
    """Raises unless `data` holds `size` bytes from `offset` on."""
    if len(data) - offset < size:
        have = max(len(data) - offset, 0)
        raise WireError(protocol, len(data), f"truncated: {size} bytes needed from byte {offset}, {have} there")


def fits(protocol: str, offset: int, field: str, value: int, bits: int) -> int:
    """`value`, if an unsigned field of `bits` bits can carry it; `offset` is where the field stands in its header."""
    if not 0 <= value < 1 << bits:
        raise WireError(protocol, offset, f"{field} {value} does not fit {bits} bits")
    return value
