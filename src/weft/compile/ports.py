"""Declared ports, as columns: by network and name, MAC, address and place."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from weft.compile.columns import ODD, chosen_of, column
from weft.compile.hosts import Hosts
from weft.compile.index import Index, Numbers
from weft.model.port import NO_GATEWAY, Attach, AttachKind, Port
from weft.model.port import Hosts as Behind
from weft.model.validate.port import Place, alone_problems, place_of

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list).decode
_KINDS = tuple(AttachKind)
_ASSIGNED = ((), ("mac",), ("ips",), ("mac", "ips"))
_MOBILE, _LEARNED = 16, 32  # above two bits of kind and two of what was assigned
_GATEWAYS = ("", NO_GATEWAY)  # which need no look at the network
_HALF = 0xFFFFFFFF
_PLAIN = Attach(kind=AttachKind.HOST)


class Ports(Hosts[str, Port]):
    """One port for each network and name. A rest is (flags, name, target[, interface, gateway])."""

    def __init__(self, names: Numbers[str]) -> None:
        super().__init__(names)
        self._hashes, self._by_name = array("I"), Index()  # of names
        self.kinds = array("B")
        self.special: set[int] = set()  # rows that must be judged each for itself
        self._places: array[int] = array("I")  # hashes of where ports are attached
        self._by_place: Index | None = None  # made when first asked for

    def put(self, port: Port) -> Port | None:
        """A port in the place of the one with its name; what that was."""
        before = self.take(port.network, port.name)
        if not self._by_name.holds(1):
            self._index_names()
        row = self.append(port.network, port.node, port.mac, port.ips, _rest(port), port)
        name, place = hash(port.name) & _HALF, hash(place_of(port)) & _HALF
        self._hashes.append(name)
        self.kinds.append(_KINDS.index(port.attach.kind))
        if port.attach.gateway not in _GATEWAYS or alone_problems(port):
            self.special.add(row)
        self._places.append(place)
        self._by_name.add(name, row)
        if self._by_place is not None:
            if not self._by_place.holds(1):
                self._index_places()
            else:
                self._by_place.add(place, row)
        return before

    def take(self, network: str, name: str) -> Port | None:
        """Takes a port away; what it was."""
        row = self.find(network, name)
        if row is None:
            return None
        found = self.at(row)
        self.special.discard(row)
        self._by_name.remove(self._hashes[row], row)
        if self._by_place is not None:
            self._by_place.remove(self._places[row], row)
        self.remove(row)
        return found

    def get(self, network: str, name: str) -> Port | None:
        row = self.find(network, name)
        return None if row is None else self.at(row)

    def find(self, network: str, name: str) -> int | None:
        """The row of a port."""
        number = self.numbers.get(network)
        if number is None:
            return None
        return next((row for row in self._named(name) if self.groups[row] == number), None)

    def names_on(self, network: str, node: str, without: AttachKind) -> Iterator[str]:
        """Names of a network's ports on a node, but for those of a kind."""
        other = _KINDS.index(without)
        return (self.name_of(row) for row in self.on(network, node) if self.kinds[row] != other)

    def networks_with(self, name: str) -> list[str]:
        """The networks that have a port of this name."""
        return [self.numbers.things[self.groups[row]] for row in self._named(name)]

    def taken(self, place: Place) -> bool:
        """Whether a port stands there already; now and then True where none does."""
        if self._by_place is None:
            self._by_place = Index()
            self._index_places()
        wanted = hash(place) & _HALF
        return any(self._places[row] == wanted for row in self._by_place.find(wanted))

    def twins(self) -> list[str]:
        """Names that ports of several networks have."""
        names = Counter(map(self.name_of, self._alike(self._hashes)))
        return [name for name, count in names.items() if count > 1]

    def clash(self) -> bool:
        """Whether two ports share a name or a place."""
        places = [place_of(self.at(row)) for row in self._alike(self._places)]
        return bool(len(set(places)) < len(places) or self.twins())

    def _alike(self, hashes: array[int]) -> list[int]:
        """Rows that have a hash which others have too."""
        rows = self.alive()
        found = column(hashes)[rows]
        ordered = np.sort(found)
        alike: list[int] = rows[np.isin(found, ordered[1:][ordered[1:] == ordered[:-1]])].tolist()
        return alike

    def _named(self, name: str) -> list[int]:
        wanted = hash(name) & _HALF
        return [row for row in self._by_name.find(wanted) if self._hashes[row] == wanted and self.name_of(row) == name]

    def name_of(self, row: int) -> str:
        if self.macs[row] == ODD:
            return self.odd[row].name
        name: str = _decode(self.packed(row))[1]
        return name

    def thing(self, row: int) -> Port:
        flags, name, target, *more = _decode(self.packed(row))
        kind = _KINDS[flags & 3]
        if more:
            attach = Attach(kind=kind, target=target, interface=more[0], gateway=more[1])
        else:
            attach = Attach(kind=kind, target=target)
        return Port(
            name=name,
            network=self.numbers.things[self.groups[row]],
            node=self.node_of(row),
            attach=attach,
            mac=self.mac_of(row),
            ips=self.ips_of(row),
            mobile=bool(flags & _MOBILE),
            hosts=Behind.LEARNED if flags & _LEARNED else Behind.DECLARED,
            assigned=_ASSIGNED[flags >> 2 & 3],
        )

    def pack(self) -> npt.NDArray[np.bool_]:
        kept = super().pack()
        self._hashes, self._places, self.kinds = (
            chosen_of(each, kept) for each in (self._hashes, self._places, self.kinds)
        )
        places = np.cumsum(kept) - 1
        self.special = {int(places[row]) for row in self.special if kept[row]}
        self._index_names()
        if self._by_place is not None:
            self._index_places()
        return kept

    def _index_names(self) -> None:
        rows = self.alive()
        self._by_name.build(column(self._hashes)[rows].astype(np.uint64), rows)

    def _index_places(self) -> None:
        assert self._by_place is not None
        rows = self.alive()
        self._by_place.build(column(self._places)[rows].astype(np.uint64), rows)


def _rest(port: Port) -> bytes | None:
    """Packed; None for what cannot be."""
    attach = port.attach
    if port.assigned not in _ASSIGNED:
        return None
    flags = _KINDS.index(attach.kind) | _ASSIGNED.index(port.assigned) << 2
    flags |= (_MOBILE if port.mobile else 0) | (_LEARNED if port.hosts is Behind.LEARNED else 0)
    plain = attach.interface == _PLAIN.interface and attach.gateway == _PLAIN.gateway
    more = () if plain else (attach.interface, attach.gateway)
    try:
        return _encode((flags, port.name, attach.target, *more))
    except UnicodeError:
        return None


class OfNetwork(Mapping[str, Port]):
    """Port name → port, made on the fly; in the order they came."""

    def __init__(self, ports: Ports, network: str) -> None:
        self._ports, self._network = ports, network

    def __getitem__(self, name: str) -> Port:
        row = self._ports.find(self._network, name)
        if row is None:
            raise KeyError(name)
        return self._ports.at(row)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._ports.find(self._network, name) is not None

    def __iter__(self) -> Iterator[str]:
        return map(self._ports.name_of, self._ports.rows(self._network).tolist())

    def __len__(self) -> int:
        return self._ports.count(self._network)

    def __repr__(self) -> str:
        return repr(dict(self))
