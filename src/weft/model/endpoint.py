"""An endpoint: this MAC, with these IPs, was seen behind this node's VTEP."""

from __future__ import annotations

import msgspec

from weft.model.network import SegmentKey

LEARNED = "learned"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`sequence` orders moves: of two sightings the higher one is newer. `source`: who saw it (`port`, `learned`…).

    `port`: the local port it is behind, "" where that is not known. `frozen`: it moved too often to be believed
    (RFC 7432 section 15.1); nobody moves it until the node that wrote this takes the mark away.
    """

    key: SegmentKey
    mac: str
    node: str
    ips: tuple[str, ...] = ()
    sequence: int = 0
    source: str = "port"
    port: str = ""
    frozen: bool = False
