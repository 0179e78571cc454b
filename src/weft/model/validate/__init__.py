"""Whether intent makes sense: pure checks of all of it at once, one module per kind of thing.

`problems` needs intent alone; `contradictions` compares it with what nodes have said of themselves. Values may come
from anywhere (a file, the API, a store that others can write): nothing is taken to be well-formed.
"""

from __future__ import annotations

from weft.model.intent import Intent
from weft.model.validate.facts import contradictions
from weft.model.validate.host_router import host_router_problems
from weft.model.validate.network import network_problems
from weft.model.validate.node import node_problems
from weft.model.validate.port import port_problems
from weft.model.validate.problem import Path, Problem
from weft.model.validate.routed import routed_problems
from weft.model.validate.router import router_problems

__all__ = ["Path", "Problem", "contradictions", "problems"]


def problems(intent: Intent) -> list[Problem]:
    """All that is wrong with this intent; ports whose MAC or addresses are still to be assigned are fine."""
    return [
        *node_problems(intent),
        *network_problems(intent),
        *routed_problems(intent),
        *router_problems(intent),
        *host_router_problems(intent),
        *port_problems(intent),
    ]
