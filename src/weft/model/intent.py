"""Intent: everything people want, in one value. What the store holds and what compile reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft.model.network import Network
from weft.model.node import Node
from weft.model.port import Port
from weft.model.router import Router


@dataclass(frozen=True, slots=True)
class Intent:
    """All declared objects by name. Treat the mappings as read-only; `merged` makes a new value."""

    nodes: dict[str, Node] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    ports: dict[str, Port] = field(default_factory=dict)

    def merged(self, other: Intent) -> Intent:
        """This intent with the other's objects put over its own, object by object."""
        return Intent(
            self.nodes | other.nodes,
            self.networks | other.networks,
            self.routers | other.routers,
            self.ports | other.ports,
        )
