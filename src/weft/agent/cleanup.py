"""Taking down what an agent has made: the one way in which networks leave a host with their agent."""

from __future__ import annotations

from weft.l2.datapath import Applied, Datapath
from weft.plan.diff import diff
from weft.plan.node import NodePlan


def cleanup(datapath: Datapath, node: str) -> Applied:
    """Removes everything that is provably ours from this host; what could not be removed is in `failed`."""
    return datapath.apply(diff(NodePlan(node), datapath.observe()))
