"""How much local learning takes in, and how long it keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. `hosts` a port, `ips` a MAC, `changes` a second and port, `burst` of them at once."""

    age: float = 300.0
    tries: int = 3
    gap: float = 1.0
    moves: int = 5
    window: float = 180.0
    thaw: float = 600.0
    hosts: int = 1024
    ips: int = 16
    changes: float = 100.0
    burst: float = 2048.0


USUAL = Limits()
