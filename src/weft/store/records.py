"""How values stand in the store: the layout of keys and the encoding of records.

    /weft/<cluster>/intent/nodes/<name>               Node
    /weft/<cluster>/intent/networks/<name>            Network
    /weft/<cluster>/intent/routers/<name>             Router
    /weft/<cluster>/intent/ports/<network>/<name>     Port: grouped, so that an agent can watch its networks only
    /weft/<cluster>/intent                            raised by every apply: what makes applies one after the other
    /weft/<cluster>/attached/<node>                   Attached: the networks in which the node has ports
    /weft/<cluster>/facts/<node>                      Facts
    /weft/<cluster>/endpoints/<vni>[.<port>]/<mac>/<node>   Endpoint: a deletion says all in its key
    /weft/<cluster>/status/<node>                     the agent's report
    /weft/<cluster>/alive/<node>                      with a lease: the host is alive, nothing else

`attached` is an index that every apply keeps true beside the ports, so that an agent finds its networks without reading
all ports; the guard says whether it can be relied on (weft.store.intent).

Records are JSON, readable in any store's own tools. What is read back is hostile until it has been decoded by type
here and validated by weft.model.validate.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from weft.model.address import UDP_PORT_VXLAN
from weft.model.endpoint import Endpoint
from weft.model.errors import Kind, WeftError
from weft.model.network import Network, SegmentKey
from weft.model.node import Node
from weft.model.port import Port
from weft.model.router import Router

T = TypeVar("T")
IntentObject = Node | Network | Router | Port
KINDS: dict[str, type[IntentObject]] = {"nodes": Node, "networks": Network, "routers": Router, "ports": Port}


class Attached(msgspec.Struct, frozen=True):
    """The networks in which a node has ports, sorted by name."""

    networks: tuple[str, ...] = ()


class Keys:
    """Keys of one cluster; several clusters may share a store."""

    def __init__(self, cluster: str = "default") -> None:
        self.root = f"/weft/{cluster}/"
        self.guard = f"{self.root}intent"
        self.intent = f"{self.root}intent/"
        self.attached = f"{self.root}attached/"
        self.facts = f"{self.root}facts/"
        self.endpoints = f"{self.root}endpoints/"
        self.status = f"{self.root}status/"
        self.alive = f"{self.root}alive/"

    def of(self, thing: IntentObject) -> str:
        """Where a declared object stands."""
        if isinstance(thing, Port):
            return f"{self.intent}ports/{thing.network}/{thing.name}"
        kind = next(kind for kind, type_ in KINDS.items() if isinstance(thing, type_))
        return f"{self.intent}{kind}/{thing.name}"

    def kind_and_name(self, key: str) -> tuple[str, str, str]:
        """(kind, name, network of a port or "") of a key below `intent`; kind "" for anything that is no object."""
        parts = key.removeprefix(self.intent).split("/")
        if parts[0] == "ports" and len(parts) == 3:
            return "ports", parts[2], parts[1]
        if parts[0] in KINDS and parts[0] != "ports" and len(parts) == 2:
            return parts[0], parts[1], ""
        return "", "", ""

    def of_kind(self, kind: str) -> str:
        """What the keys of a kind's objects begin with."""
        return f"{self.intent}{kind}/"

    def ports_of(self, network: str) -> str:
        """What the keys of a network's ports begin with."""
        return f"{self.intent}ports/{network}/"

    def endpoints_of(self, segment: SegmentKey) -> str:
        """What the keys of a segment's endpoints begin with."""
        return f"{self.endpoints}{segment}/"

    def endpoint(self, endpoint: Endpoint) -> str:
        return f"{self.endpoints}{endpoint.key}/{endpoint.mac}/{endpoint.node}"

    def endpoint_of(self, key: str) -> tuple[SegmentKey, str, str]:
        """(segment, MAC, node) of a key below `endpoints`; raises INVALID for any other."""
        match = re.fullmatch(r"(\d+)(?:\.(\d+))?/([0-9a-f:]{17})/([^/]+)", key.removeprefix(self.endpoints))
        if not match:
            raise WeftError(Kind.INVALID, "no endpoint is stored like this", where=key, remedy="delete the key")
        vni, udp_port, mac, node = match.groups()
        return SegmentKey(int(udp_port or UDP_PORT_VXLAN), int(vni)), mac, node


_encoder = msgspec.json.Encoder()


def encode(record: msgspec.Struct) -> bytes:
    return _encoder.encode(record)


def decode(key: str, value: bytes, type_: type[T]) -> T:
    """The record under `key`; raises INVALID, naming the key, for bytes that are no such record."""
    try:
        return msgspec.json.decode(value, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WeftError(
            Kind.INVALID,
            f"the stored record is no valid {type_.__name__}: {error}",
            where=key,
            remedy="apply the file again, or delete the object",
        ) from None
