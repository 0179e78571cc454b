"""Endpoints seen, as columns: by segment, MAC and node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from weft.compile.columns import column
from weft.compile.hosts import Hosts
from weft.model.endpoint import LEARNED, Endpoint
from weft.model.network import SegmentKey

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list).decode
_DEFAULT, _LEARNED, _OTHER, _FROZEN = 0, 1, 2, 4  # whose sighting; with the mark


class Sightings(Hosts[SegmentKey, Endpoint]):
    """One endpoint for each segment, MAC and node. A rest is (flags, sequence, port[, source])."""

    def put(self, endpoint: Endpoint) -> Endpoint | None:
        """An endpoint in its place; the one that stood there."""
        before = self.take(endpoint.key, endpoint.mac, endpoint.node)
        self.append(endpoint.key, endpoint.node, endpoint.mac, endpoint.ips, _rest(endpoint), endpoint)
        return before

    def take(self, key: SegmentKey, mac: str, node: str) -> Endpoint | None:
        """Takes an endpoint away; what it was."""
        row = self._find(key, mac, node)
        if row is None:
            return None
        found = self.at(row)
        self.remove(row)
        return found

    def _find(self, key: SegmentKey, mac: str, node: str) -> int | None:
        number = self.names.get(node)
        return next((row for row in self.with_mac(key, mac) if self.nodes[row] == number), None)

    def thing(self, row: int) -> Endpoint:
        flags, sequence, port, *source = _decode(self.packed(row))
        return Endpoint(
            key=self.numbers.things[self.groups[row]],
            mac=self.mac_of(row),
            node=self.node_of(row),
            ips=self.ips_of(row),
            sequence=sequence,
            source=source[0] if source else LEARNED if flags & _LEARNED else "port",
            port=port,
            frozen=bool(flags & _FROZEN),
        )

    def of(self, key: SegmentKey, mac: str) -> dict[str, Endpoint]:
        """What each node says of a MAC."""
        return {endpoint.node: endpoint for endpoint in map(self.at, self.with_mac(key, mac))}

    def said_by(self, node: str) -> Iterator[Endpoint]:
        """What a node says."""
        number = self.names.get(node)
        return map(self.at, np.flatnonzero(column(self.nodes) == number).tolist() if number is not None else ())

    def holders(self, key: SegmentKey, ip: str) -> list[tuple[str, str]]:
        """(MAC, node) of the endpoints that have an address."""
        return [(self.mac_of(row), self.node_of(row)) for row in self.with_ip(key, ip)]


def _rest(endpoint: Endpoint) -> bytes | None:
    """Packed; None for what cannot be."""
    flags = {"port": _DEFAULT, LEARNED: _LEARNED}.get(endpoint.source, _OTHER) | (_FROZEN if endpoint.frozen else 0)
    source = (endpoint.source,) if flags & _OTHER else ()
    if not endpoint.mac:
        return None
    try:
        return _encode((flags, endpoint.sequence, endpoint.port, *source))
    except (OverflowError, UnicodeError):
        return None


class OfSegment(Mapping[str, dict[str, Endpoint]]):
    """MAC → node → endpoint, as it stands; the dictionaries are made on the fly."""

    def __init__(self, sightings: Sightings, key: SegmentKey) -> None:
        self._sightings, self._key = sightings, key

    def __getitem__(self, mac: str) -> dict[str, Endpoint]:
        found = self._sightings.of(self._key, mac)
        if not found:
            raise KeyError(mac)
        return found

    def __contains__(self, mac: object) -> bool:
        return isinstance(mac, str) and bool(self._sightings.with_mac(self._key, mac))

    def __iter__(self) -> Iterator[str]:
        rows = self._sightings.rows(self._key).tolist()
        return iter(dict.fromkeys(self._sightings.at(row).mac for row in rows))

    def __len__(self) -> int:
        return sum(1 for _ in self)
