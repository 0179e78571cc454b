"""A token bucket: so many at once, so many a second after (RFC 2697 section 3's committed bucket, without colours)."""

from __future__ import annotations


class Bucket:
    """`rate` tokens a second, at most `burst` of them; full at first. Time is in seconds and comes in."""

    __slots__ = ("_burst", "_left", "_rate", "_then")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._then = burst, float("-inf")

    def take(self, now: float) -> bool:
        """Whether there was a token; it is taken."""
        if now > self._then:
            self._left = min(self._burst, self._left + self._rate * (now - self._then))
            self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
