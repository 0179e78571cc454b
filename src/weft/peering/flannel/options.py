"""What a node is told on its command line, beside where etcd is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from weft.peering.flannel.external import Wish
from weft.peering.flannel.registry import TTL


@dataclass(frozen=True, slots=True)
class Options:
    """`fully_random`: source ports of what is masqueraded; `margin`: seconds before its end that the lease is renewed;
    `ttl`: of a new one."""

    subnet_file: Path = Path("/run/flannel/subnet.env")
    wish: Wish = field(default_factory=Wish)
    masquerade: bool = False
    fully_random: bool = True
    margin: float = 3600.0
    keep_lease: bool = False
    ttl: float = TTL
    namespace: str | None = None
