"""Trains to one VTEP put together, as many datagrams to a call as the kernel takes.

A host's TCP frames of 64 KiB make 45 datagrams of flannel's size, one more than fit a call; alone, that one would cost
both ends as much as the 44 others. So what is left over waits for the next frame, as long as there is one.
"""

from __future__ import annotations

from weft.l2.user.underlay import Underlay


class Batch:
    """Order is kept among what is added; whoever sends past it flushes before. Used by one thread."""

    def __init__(self) -> None:
        self._parts: list[memoryview] = []
        self._octets = 0
        self._key: tuple[Underlay, str, int] | None = None

    def add(self, underlay: Underlay, vtep: str, data: memoryview, size: int) -> None:
        """Datagrams of `size` octets, the last maybe shorter. Raises OSError; what was waiting is lost then."""
        if self._key != (underlay, vtep, size):
            self.flush()
            self._key = underlay, vtep, size
        self._parts.append(data)
        self._octets += len(data)
        most = underlay.most(size)
        while self._octets >= most:
            self._send(most)
        if self._octets % size:  # one that is shorter ends its train
            self.flush()

    def flush(self) -> None:
        """Sends what waits. Raises OSError."""
        if self._octets:
            self._send(self._octets)

    def _send(self, octets: int) -> None:
        assert self._key is not None
        underlay, vtep, size = self._key
        parts, left = [], octets
        while left:
            first = self._parts[0]
            if len(first) > left:
                parts.append(first[:left])
                self._parts[0] = first[left:]
                break
            parts.append(self._parts.pop(0))
            left -= len(first)
        self._octets -= octets
        try:
            underlay.send_segments(0, vtep, parts, octets, size, 0)
        except OSError:
            self._parts.clear()
            self._octets = 0
            raise
