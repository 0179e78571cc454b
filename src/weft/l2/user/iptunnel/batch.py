"""Datagrams and trains to one VTEP put together, as many to a call as the kernel takes.

A host's TCP frames of 64 KiB make 45 datagrams of flannel's size, one more than fit a call; alone, that one would cost
both ends as much as the 44 others. So what is left over waits for the next frame, as long as there is one; and so do
packets that stand for themselves, since the way through the kernel's UDP costs more than our own work on them.
"""

from __future__ import annotations

from weft.l2.user.underlay import Underlay


class Batch:
    """Order is kept among what is added; whoever sends past it flushes before. Used by one thread.

    `lost`: datagrams of the last call that failed.
    """

    def __init__(self) -> None:
        self._parts: list[memoryview] = []
        self._octets = 0
        self._key: tuple[Underlay, str, int] | None = None
        self.lost = 0

    def add(self, underlay: Underlay, vtep: str, data: memoryview, size: int) -> None:
        """Datagrams of `size` octets, the last maybe shorter; `data` is the caller's again. Raises OSError; what was
        waiting is lost then."""
        if not self._joins(underlay, vtep, len(data), size):
            self.flush()
            self._key = underlay, vtep, size
        else:
            size = self._key[2] if self._key else size
        self._parts.append(data)
        self._octets += len(data)
        most = underlay.most(size)
        while self._octets >= most:
            self._send(most)
        if self._octets % size:  # one that is shorter ends its train
            self.flush()
        elif self._parts:
            self._parts[-1] = memoryview(bytes(self._parts[-1]))

    def _joins(self, underlay: Underlay, vtep: str, octets: int, size: int) -> bool:
        """Datagrams of the same size do, and a single one that is shorter, as the last."""
        if not self._octets or self._key is None or self._key[:2] != (underlay, vtep):
            return False
        return size == self._key[2] or octets <= size < self._key[2]

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
            self.lost = -(-(octets + self._octets) // size)
            self._parts.clear()
            self._octets = 0
            raise
