"""A connection to a bridge for one thing: to be told when flows come, go or change (NXST_FLOW_MONITOR).

It ends when ovs-vswitchd does, which is how a restart is noticed at once.
"""

from __future__ import annotations

from pathlib import Path

from weft.l2.ovs import openflow
from weft.l2.ovs.connection import Connection


class FlowMonitor:
    """Raises UNREACHABLE where there is no such bridge."""

    def __init__(self, bridge: Path) -> None:
        self._connection = Connection(bridge, openflow.monitor_flows())

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()

    def read(self) -> list[int] | None:
        """Cookies of flows that changed since the last call, never waits; None: the bridge, or the switch, is gone."""
        messages = self._connection.read()
        if messages is None:
            return None
        replies = [message.body for message in messages if message.kind == openflow.STATS_REPLY]
        return [cookie for body in replies for cookie in openflow.changed_flows(body)]
